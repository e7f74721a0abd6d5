"""Plain values, as YAML or a command line give them, against annotations."""

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from ._errors import ConfigError, did_you_mean
from ._registry import builder_of, settings_of


@dataclass(frozen=True)
class Choice:
    """A registered component by its `type`, with all of its `settings`."""

    type: str
    settings: Mapping[str, Any]

    def build(self, kind: str, *arguments: Any) -> Any:
        """Calls what is registered."""
        return builder_of(kind, self.type)(*arguments, **self.settings)


def component(kind: str, default: str) -> Any:
    """A field of a section that holds a `Choice` of this kind."""
    return field(default_factory=lambda: parse_choice(kind, default, kind), metadata={"kind": kind})


def parse_section(section: type, values: Any, path: str) -> Any:
    """Builds a section, a dataclass, from a mapping.

    **Raises:** `ConfigError` naming the path of what is wrong.
    """
    values = _mapping(values, path)
    fields = {f.name: f for f in dataclasses.fields(section)}
    _refuse_unknown(values, fields, path)
    parsed: dict[str, Any] = {}
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        kind = fields[name].metadata.get("kind")
        annotation = fields[name].type
        if kind is not None:
            parsed[name] = parse_choice(kind, value, where)
        elif dataclasses.is_dataclass(annotation):
            parsed[name] = parse_section(annotation, value, where)  # pyright: ignore[reportArgumentType]
        else:
            parsed[name] = convert(value, annotation, where)
    try:
        return section(**parsed)
    except ConfigError as error:
        raise error if not path or str(error).startswith(path) else ConfigError(f"{path}: {error}") from error


def parse_choice(kind: str, value: Any, path: str) -> Choice:
    """A component from its name, or from a mapping with `type` and settings; defaults are filled in."""
    if isinstance(value, str):
        value = {"type": value}
    values = dict(_mapping(value, path))
    if "type" not in values:
        raise ConfigError(f"{path}: expected a name, or a mapping with `type`; got {value!r}.")
    name = convert(values.pop("type"), str, f"{path}.type")
    known = settings_of(kind, name, path)
    _refuse_unknown(values, known, path, f" of {kind} {name!r}")
    given = {k: convert(v, known[k][0], f"{path}.{k}") for k, v in values.items()}
    return Choice(name, {k: given.get(k, default) for k, (_, default) in known.items()})


def to_plain(value: Any) -> Any:
    """Sections, choices, paths and tuples as plain dictionaries, strings and lists."""
    if isinstance(value, Choice):
        return {"type": value.type, **{k: to_plain(v) for k, v in value.settings.items()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def convert(value: Any, annotation: Any, path: str) -> Any:
    """One plain value as the annotation wants it. A float may be written as an integer, and as text such as `1e-3`,
    which YAML takes for a string; nothing else is converted.

    **Raises:** `ConfigError`.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        for argument in (a for a in arguments if a is not type(None)):
            try:
                return convert(value, argument, path)
            except ConfigError:
                continue
        raise _mismatch(value, annotation, path)
    if origin is Literal:
        if value in arguments and type(value) in {type(a) for a in arguments}:
            return value
        hint = did_you_mean(str(value), (str(a) for a in arguments))
        raise ConfigError(f"{path}: expected one of {', '.join(map(str, arguments))}; got {value!r}. {hint}")
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _mismatch(value, annotation, path)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        if len(arguments) != len(value):
            raise _mismatch(value, annotation, path)
        return tuple(convert(v, a, f"{path}[{i}]") for i, (v, a) in enumerate(zip(value, arguments)))
    if annotation is Path and isinstance(value, str | Path) and str(value):
        return Path(value)
    if annotation is float and not isinstance(value, bool):
        try:
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    elif annotation in (int, str, bool) and type(value) is annotation:
        return value
    raise _mismatch(value, annotation, path)


def _mismatch(value: Any, annotation: Any, path: str) -> ConfigError:
    name = getattr(annotation, "__name__", "") if get_origin(annotation) is None else ""
    wanted = {"int": "a whole number", "float": "a finite number", "bool": "true or false", "str": "text"}
    expected = wanted.get(name) or name or str(annotation).replace("NoneType", "None")
    return ConfigError(f"{path}: expected {expected}; got {value!r} ({type(value).__name__}).")


def _mapping(values: Any, path: str) -> Mapping[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or 'configuration'}: expected a mapping of settings; got {values!r}.")
    if strange := [k for k in values if not isinstance(k, str)]:
        raise ConfigError(f"{path or 'configuration'}: the name of a setting is text; got {strange[0]!r}.")
    return values


def _refuse_unknown(values: Mapping[str, Any], known: Mapping[str, Any], path: str, of: str = "") -> None:
    for name in values:
        if name not in known:
            where = f"{path}.{name}" if path else name
            raise ConfigError(f"{where}: unknown setting{of}. {did_you_mean(name, known)}")
