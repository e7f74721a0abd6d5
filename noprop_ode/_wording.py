"""Values and annotations in words, for errors."""

import os
import re
import reprlib
import types
import typing
from pathlib import PurePath
from typing import Any, Literal

import diffrax
import equinox as eqx
import jax
import numpy as np
import optax
from jaxtyping import AbstractArray, PRNGKeyArray


_SHORT = reprlib.Repr()
_SHORT.maxstring, _SHORT.maxother = 60, 60
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "True or False", type(None): "None"}
_KINDS = {"Float": "floating-point", "Inexact": "floating-point", "Integer": "integer", "Int": "integer"}
_KINDS |= {"Bool": "boolean", "Shaped": "", "Key": "key"}
_KEY = set(typing.get_args(PRNGKeyArray))
_STARTS = ("noise", "mean")
_EXAMPLES = {
    "AbstractSampler": "such as noprop_ode.ODE(diffrax.Heun(), steps=4) or noprop_ode.Ancestral(4)",
    "Prediction": "such as model.paper_prediction",
    "AbstractVectorField": "such as noprop_ode.nn.ConvField((28, 28, 1), 10, 10, key=jax.random.key(0))",
    "Blocks": "such as noprop_ode.Blocks(lambda key: ..., num_blocks=10, key=jax.random.key(0))",
    "TrainState": "as noprop_ode.TrainState.create makes it",
}


def given(value: Any) -> str:
    """What a value is, in a few words, however large it is.

    **Arguments:** anything. **Returns:** the words.
    """
    if isinstance(value, jax.Array | np.ndarray | jax.ShapeDtypeStruct):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return f"the function {value.__name__}"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | PurePath):
        return _SHORT.repr(value)
    if isinstance(value, list | tuple | dict | set):
        return f"{_article(type(value).__name__)} of {len(value)}"
    return _article(type(value).__name__)


def expected(annotation: Any, sizes: dict[str, int] | None = None, value: Any = None) -> str:
    """What an annotation asks for.

    **Arguments:** the annotation, the sizes of dimensions that are known, and the value that came instead.
    **Returns:** the words.
    """
    members = _members(annotation)
    words = []
    for member in members:
        if member in _KEY and set(members) >= _KEY:
            word = "a random key"
        elif isinstance(member, type) and issubclass(member, AbstractArray):
            word = _array(member, sizes or {}, _maker(members, value))
        elif typing.get_origin(member) is Literal:
            words += [repr(choice) for choice in typing.get_args(member)]
            continue
        elif typing.get_origin(member) is os.PathLike:
            word = "a path"
        elif member in _WORDS:
            word = _WORDS[member]
        elif isinstance(member, type) and not typing.get_args(member):
            word = _article(member.__name__)
        else:
            word = re.sub(r"\b[a-z_]\w*\.", "", str(member))
        words.append(word)
    *most, last = dict.fromkeys(words)
    return f"{', '.join(most)} or {last}" if most else last


def sizes_of(arguments: dict[str, tuple[Any, Any]]) -> dict[str, int]:
    """The sizes of dimensions by name, as bound by earlier arguments.

    **Arguments:** annotation and value, by argument. **Returns:** the sizes.
    """
    found: dict[str, int] = {}
    for annotation, value in arguments.values():
        for member in _members(annotation):
            if isinstance(member, type) and issubclass(member, AbstractArray):
                names, shape = member.dim_str.split(), getattr(value, "shape", None)
                if shape is not None and len(names) == len(shape) and all(n.isidentifier() for n in names):
                    found = dict(zip(names, shape)) | found
    return found


def advice(annotation: Any, value: Any) -> str:
    """What to write instead of a value that an annotation refuses.

    **Arguments:** annotation and value. **Returns:** a sentence; empty if there is nothing to say.
    """
    members = _members(annotation)
    if set(members) >= _KEY:
        return f"Make one by jax.random.key({value if isinstance(value, int) else 0})."
    if isinstance(value, str) and int in members and re.fullmatch(r"[+-]?\d+", value):
        return f"Write {value} without quotes."
    if isinstance(value, np.generic) and type(value.item()) in members:
        return f"Make it a number of Python's: {type(value.item()).__name__}(...)."
    if any(typing.get_args(member) == _STARTS for member in members):
        return "'mean' starts at z_0 = 0, and 'noise' at a draw of it."
    if typing.get_args(annotation) == (int, int, int) and isinstance(value, tuple) and len(value) == 2:
        return "It is (height, width, channels); images without channels need images[..., None]."
    classes = [m for m in members if isinstance(m, type) and m not in _WORDS and not issubclass(m, AbstractArray)]
    for wanted in classes:
        if isinstance(value, type) and issubclass(value, wanted):
            return f"Make one: {value.__name__}(...)."
        if isinstance(value, tuple) and any(isinstance(part, wanted) for part in value):
            place = next(i for i, part in enumerate(value) if isinstance(part, wanted))
            return f"Take item {place} of that {type(value).__name__}."
        if hint := _named(wanted, value):
            return hint
    return ""


def _named(wanted: type, value: Any) -> str:
    """Advice for a class that users name by a word, or confuse with another."""
    word = re.sub(r"[^a-z0-9]", "", value.lower()) if isinstance(value, str) else ""
    if wanted.__name__ == "AbstractModel" and isinstance(value, str | os.PathLike):
        return f"noprop_ode.experiment.load_model({str(value)!r})[0] is the model of a run."
    if wanted.__name__ == "AbstractSampler":
        solvers = {n.lower(): n for n in dir(diffrax) if _is_solver(getattr(diffrax, n))}
        solver = type(value).__name__ if isinstance(value, diffrax.AbstractSolver) else solvers.get(word)
        if solver is not None:
            return f"Write noprop_ode.ODE(diffrax.{solver}(), steps=4)."
    if wanted.__name__ == "AbstractLabelEmbedding" and isinstance(value, int):
        return f"Write noprop_ode.OneHot({value})."
    if wanted.__name__ == "GradientTransformation" and callable(getattr(value, "gradient_transformation", None)):
        return "Write .gradient_transformation() behind it."
    if wanted.__name__ == "GradientTransformation":
        return f"Give one such as optax.{word if callable(getattr(optax, word, None)) else 'adam'}(1e-3)."
    named = [name for name in _made_of(wanted) if word and word in name.rsplit(".", 1)[-1].lower()]
    if named:
        return f"Did you mean {' or '.join(f'{name}(...)' for name in named)}?"
    if isinstance(value, eqx.Module) and _package(type(value)).split(".")[0] != "noprop_ode" and callable(value):
        return f"Make {type(value).__name__} a subclass of {_package(wanted)}.{wanted.__name__}."
    if wanted.__name__ in _EXAMPLES:
        return f"Give one {_EXAMPLES[wanted.__name__]}."
    known = _made_of(wanted)
    return f"Give one of {', '.join(known)}." if known else ""


def _made_of(wanted: type) -> list[str]:
    """Full names of the public classes of this package that are subclasses of `wanted`."""
    below = [sub for direct in wanted.__subclasses__() for sub in (direct, *direct.__subclasses__())]
    public = [sub for sub in below if not sub.__name__.startswith(("Abstract", "_"))]
    return sorted({f"{_package(sub)}.{sub.__name__}" for sub in public if _package(sub).startswith("noprop_ode")})


def _package(found: type) -> str:
    """The package that exports a class: `noprop_ode`, or a subpackage of it without an underscore."""
    top, *below = found.__module__.split(".")
    return f"{top}.{below[0]}" if below and below[0][0] != "_" else top


def _is_solver(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, diffrax.AbstractSolver) and found.__name__[:8] != "Abstract"


def _members(annotation: Any) -> tuple[Any, ...]:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (type(None) if annotation is None else annotation,)


def _maker(members: tuple[Any, ...], value: Any) -> str:
    """Whose array is expected, if the value is an array of another library, or a number."""
    takes = {member.array_type for member in members if isinstance(member, type) and issubclass(member, AbstractArray)}
    number = isinstance(value, bool | int | float | complex | np.generic)
    if takes == {jax.Array} and (number or isinstance(value, np.ndarray)):
        return "JAX"
    return "NumPy" if takes == {np.ndarray} and (number or isinstance(value, jax.Array)) else ""


def _array(annotation: Any, sizes: dict[str, int], maker: str) -> str:
    name = annotation.dtype.__name__
    kind = _KINDS.get(name, name.lower())
    dims = [f"{dim}={sizes[dim]}" if dim in sizes else dim for dim in annotation.dim_str.split()]
    what = " ".join(word for word in (maker, kind, "array") if word)
    return f"{_article(what)} of shape [{', '.join(dims)}]" if dims else _article(what.replace("array", "scalar"))


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


_SHORTER = reprlib.Repr()
_SHORTER.maxlevel, _SHORTER.maxstring, _SHORTER.maxother = 3, 60, 60


def show(value: Any) -> str:
    """A value for a message: short, however large it is, and with nothing that a terminal would interpret."""
    try:
        return _SHORTER.repr(value)
    except ValueError:  # Python itself refuses to print integers of thousands of digits
        return f"{type(value).__name__} too long to show"
