"""The type checker of the package: beartype, which accepts an `int` where a `float` is expected (PEP 484), with errors
of one sentence."""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from jaxtyping import AnnotationError

from ._wording import advice, expected, given, sizes_of


# If a checker fails, jaxtyping prints every argument in full, models included; its own errors pass through.
class ArgumentError(TypeError, AnnotationError):
    """An argument or the return value of a function does not match its annotation."""


_begun = False


def begin() -> None:
    """Checks from now on. Until then the package is being imported, and the few calls are its own."""
    global _begun
    _begun = True


class _ArgumentViolation(Exception):
    """Raised by beartype for an argument."""


class _ReturnViolation(Exception):
    """Raised by beartype for what a function returns."""


@functools.cache
def _conf() -> Any:
    from beartype import BeartypeConf  # when it is needed: a seventh of the import time of this package

    violations = {"violation_param_type": _ArgumentViolation, "violation_return_type": _ReturnViolation}
    return BeartypeConf(is_pep484_tower=True, **violations)


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    if all(kind in (Any, None, type(None)) for kind in function.__annotations__.values()):
        return function  # nothing to check but that it returns nothing

    from beartype import beartype

    # jaxtyping passes a function twice: for its arguments, with nothing to return; then for what it returns.
    subject = function if function.__annotations__.get("return", Any) is Any else _without_arguments(function)
    return beartype(conf=_conf())(subject)


def typecheck(function: Callable[..., Any]) -> Callable[..., Any]:
    """Checks the annotations of a function.

    **Arguments:** the `function`, as jaxtyping passes it: only the signature of the one to check.

    **Returns:** the function, raising [`noprop_ode.ArgumentError`][] for values that do not match.
    """
    checked: Any = None

    def brief(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        nonlocal checked
        if not _begun:
            return function(*args, **kwargs)
        if checked is None:
            # At the first call: a program calls few of the functions that it imports, and making the checkers of all
            # would take most of the import time.
            checked = _checked(function)
        try:
            return checked(*args, **kwargs)
        except (_ArgumentViolation, _ReturnViolation) as violation:
            message = _message(function, args, kwargs, returned=isinstance(violation, _ReturnViolation))
        raise ArgumentError(message)

    return brief


def _without_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the annotation of what it returns alone: its arguments were checked before it was called, and
    jaxtyping still knows the sizes of their dimensions."""
    code: Any = function
    copy = types.FunctionType(code.__code__, code.__globals__, code.__name__, code.__defaults__, code.__closure__)
    functools.update_wrapper(copy, function)
    copy.__kwdefaults__, copy.__annotations__ = code.__kwdefaults__, {"return": code.__annotations__["return"]}
    return copy


def _message(function: Callable[..., Any], args: Any, kwargs: Any, *, returned: bool) -> str:
    signature = inspect.signature(function)
    values = signature.bind(*args, **kwargs)
    values.apply_defaults()
    wanted = {name: p.annotation for name, p in signature.parameters.items()}
    if returned:  # jaxtyping passes it on as the last argument by keyword
        own = [n for n, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY]
        name, annotation = own[-1], signature.return_annotation
        what, value = "what it returns", values.arguments[name]
    else:
        # In order, as they were checked: the sizes of dimensions carry over from one to the next.
        name = next((n for n, p in signature.parameters.items() if not _fits(values.arguments.get(n), p)), None)
        if name is None:
            return f"{_called(function, values.arguments)}: its arguments do not go together."
        what, value, annotation = f"argument {name}", values.arguments[name], wanted[name]
    earlier = list(wanted)[: list(wanted).index(name)]
    sizes = sizes_of({n: (wanted[n], values.arguments.get(n)) for n in earlier})
    asked = expected(annotation, sizes, value)
    text = f"{_called(function, values.arguments)}, {what}: expected {asked}; got {given(value)}."
    hint = "" if returned else advice(annotation, value)
    return f"{text} {hint}".rstrip()


def _fits(value: Any, parameter: inspect.Parameter) -> bool:
    from beartype.door import is_bearable

    each = [value]
    if parameter.kind is parameter.VAR_POSITIONAL:
        each = value or ()
    elif parameter.kind is parameter.VAR_KEYWORD:
        each = (value or {}).values()
    kind = parameter.annotation
    return kind is inspect.Parameter.empty or all(is_bearable(v, kind, conf=_conf()) for v in each)


def _called(function: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """The name by which a user calls the function; for a method, with the class of the object."""
    owner, _, name = function.__qualname__.rpartition(".")
    if "self" in arguments:
        owner = type(arguments["self"]).__name__
    if name in ("__init__", "__call__"):
        return owner
    return f"{owner}.{name}" if owner else name
