"""The type checker of the package: beartype, with an `int` accepted where a `float` is asked for (PEP 484), and with
errors of one sentence."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype
from beartype.door import is_bearable
from beartype.roar import BeartypeCallHintReturnViolation, BeartypeCallHintViolation
from jaxtyping import AnnotationError

from ._wording import advice, expected, given, sizes_of


_CONF = BeartypeConf(is_pep484_tower=True)


# jaxtyping prints every argument in full where a checker fails, models included; it lets an error of its own pass.
class ArgumentError(TypeError, AnnotationError):
    """An argument of a function, or what came out of it, is not what its annotation asks for."""


def typecheck(function: Callable[..., Any]) -> Callable[..., Any]:
    """Checks the annotations of a function.

    **Arguments:** the `function`, as jaxtyping hands it over: only the signature of the one to check.

    **Returns:** it, raising [`noprop_ode.ArgumentError`][] for what does not fit.
    """
    checked: Any = None

    @functools.wraps(function)
    def brief(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        nonlocal checked
        if checked is None:
            # At the first call: a program calls few of the functions that it imports, and to make the checkers of all
            # would take most of the time of the import.
            checked = beartype(conf=_CONF)(function)
        try:
            return checked(*args, **kwargs)
        except BeartypeCallHintViolation as violation:
            returned = isinstance(violation, BeartypeCallHintReturnViolation)
            message = _message(function, args, kwargs, returned=returned)
        raise ArgumentError(message)

    return brief


def _message(function: Callable[..., Any], args: Any, kwargs: Any, *, returned: bool) -> str:
    signature = inspect.signature(function)
    values = signature.bind(*args, **kwargs)
    values.apply_defaults()
    wanted = {name: p.annotation for name, p in signature.parameters.items()}
    if returned:  # jaxtyping passes it on as the last argument
        name, annotation = list(wanted)[-1], signature.return_annotation
        what, value = "what it returns", values.arguments[name]
    else:
        # In their order, as they were checked: the sizes of dimensions hold from one to the next.
        name = next(
            (n for n, kind in wanted.items() if n in values.arguments and not _fits(values.arguments[n], kind)), None
        )
        if name is None:
            return f"{_called(function, values.arguments)}: its arguments do not go together."
        what, value, annotation = f"argument {name}", values.arguments[name], wanted[name]
    earlier = list(wanted)[: list(wanted).index(name)]
    sizes = sizes_of({n: (wanted[n], values.arguments.get(n)) for n in earlier})
    asked = expected(annotation, sizes, value)
    text = f"{_called(function, values.arguments)}, {what}: expected {asked}; got {given(value)}."
    hint = "" if returned else advice(annotation, value)
    return f"{text} {hint}".rstrip()


def _fits(value: Any, annotation: Any) -> bool:
    return annotation is inspect.Parameter.empty or is_bearable(value, annotation, conf=_CONF)


def _called(function: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """What a user calls the function: by the class of the object where it is a method."""
    owner, _, name = function.__qualname__.rpartition(".")
    if "self" in arguments:
        owner = type(arguments["self"]).__name__
    if name in ("__init__", "__call__"):
        return owner
    return f"{owner}.{name}" if owner else name
