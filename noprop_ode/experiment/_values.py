"""Checks a plain value against an annotation: what a setting may be."""

import os
import types
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ._errors import ConfigError, did_you_mean, show


@dataclass(frozen=True)
class Interval:
    """The numbers that a setting may be, in interval notation: `Annotated[float, Interval("[0, 1)")]`."""

    text: str

    def __contains__(self, x: float) -> bool:
        low, high = map(float, self.text[1:-1].split(","))
        return (x >= low if self.text[0] == "[" else x > low) and (x <= high if self.text[-1] == "]" else x < high)


# Unless stated otherwise: what JAX holds in 32 bits.
_ALL = {int: Interval("[-2147483648, 2147483647]"), float: Interval("[-1e38, 1e38]")}


def convert(value: Any, annotation: Any, path: str) -> Any:
    """One plain value as the annotation requires it; a float may be written as an integer, nothing else is converted.

    **Raises:** `ConfigError`.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        for argument in arguments:
            try:
                return convert(value, argument, path)
            except ConfigError:
                continue
    elif origin is Literal:
        if any(value == a and type(value) is type(a) for a in arguments):
            return value
        hint = did_you_mean(value, map(str, arguments)) if isinstance(value, str) else ""
        raise ConfigError(f"{path}: expected {_wanted(annotation)}; got {show(value)}. {hint}".rstrip())
    elif origin is tuple and isinstance(value, list | tuple):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        if len(arguments) == len(value):
            return tuple(convert(v, a, f"{path}[{i}]") for i, (v, a) in enumerate(zip(value, arguments)))
    elif origin is Annotated or annotation in _ALL:
        base, allowed = arguments if origin is Annotated else (annotation, _ALL[annotation])
        # A bool is an int to Python, not to us. Whole numbers are compared as such: they may be beyond any float.
        if (type(value) is base or (base is float and type(value) is int)) and value in allowed:
            return base(value)
    elif annotation is bool and isinstance(value, bool):
        return value
    elif annotation in (str, Path) and isinstance(value, annotation | str):
        text = str(value)
        # Control characters and lone surrogates do not belong in our terminals, file systems and files.
        allowed = "\n\t" if annotation is str else ""
        if all(c in allowed or unicodedata.category(c) not in ("Cc", "Cs") for c in text) and (
            text or annotation is str
        ):
            return Path(os.path.expanduser(text)) if annotation is Path else text
    raise ConfigError(f"{path}: expected {_wanted(annotation)}; got {show(value)} ({type(value).__name__}).")


def is_plain(annotation: Any) -> bool:
    """Whether a parameter with this annotation can be a setting."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType, tuple):
        return all(is_plain(a) for a in arguments)
    if origin is Annotated:
        return isinstance(arguments[1], Interval)
    return origin is Literal or annotation in (bool, int, float, str, type(None), Ellipsis)


def _wanted(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_wanted(a) for a in arguments)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is Annotated:
        return f"{_wanted(arguments[0])} in {arguments[1].text}"
    if origin is tuple:
        return f"a list of {'any length' if Ellipsis in arguments else len(arguments)}"
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text", Path: "a path"}
    return names.get(annotation, "none")
