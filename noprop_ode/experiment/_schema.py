"""Sections and components from nested plain values, as YAML or JSON give them, and back."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._errors import ConfigError, did_you_mean, show
from ._registry import component_of, settings_of
from ._values import convert


@dataclass(frozen=True)
class Choice:
    """A registered component by its `type`, with all of its `settings`."""

    type: str
    settings: Mapping[str, Any]

    def build(self, kind: str, *arguments: Any) -> Any:
        """The registered component, built with these settings."""
        return component_of(kind, self.type).build(self.settings, *arguments)


def component(kind: str, default: str) -> Any:
    """A field of a section that holds a `Choice` of this kind."""
    return field(default_factory=lambda: parse_choice(kind, default, kind), metadata={"kind": kind})


def parse_section(section: type, values: Any, path: str) -> Any:
    """Builds a section, a dataclass, from a mapping.

    **Raises:** `ConfigError` naming the path of what is wrong.
    """
    fields = {f.name: f for f in dataclasses.fields(section)}
    parsed: dict[str, Any] = {}
    for name, value in _mapping(values, fields, path).items():
        where = f"{path}.{name}" if path else name
        annotation: Any = fields[name].type
        if (kind := fields[name].metadata.get("kind")) is not None:
            parsed[name] = parse_choice(kind, value, where)
        elif dataclasses.is_dataclass(annotation):
            parsed[name] = parse_section(annotation, value, where)  # pyright: ignore[reportArgumentType]
        else:
            parsed[name] = convert(value, annotation, where)
    return section(**parsed)


def parse_choice(kind: str, value: Any, path: str) -> Choice:
    """A component from its name, or from a mapping with `type` and settings; defaults are filled in."""
    values = {"type": value} if isinstance(value, str) else value
    if not isinstance(values, Mapping) or "type" not in values:
        raise ConfigError(f"{path}: expected a name, or a mapping with `type`; got {show(value)}.")
    name = convert(values["type"], str, f"{path}.type")
    known = settings_of(kind, name, path)
    given = {k: v for k, v in values.items() if k != "type"}
    given = {
        k: convert(v, known[k][0], f"{path}.{k}")
        for k, v in _mapping(given, known, path, f" of {kind} {name!r}").items()
    }
    return Choice(name, {k: given.get(k, default) for k, (_, default) in known.items()})


def to_plain(value: Any) -> Any:
    """Sections, choices, paths and tuples as plain dictionaries, strings and lists."""
    if isinstance(value, Choice):
        return {"type": value.type, **{k: to_plain(v) for k, v in value.settings.items()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _brief(f, to_plain(getattr(value, f.name))) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def leaves(values: Any, path: str = "") -> dict[str, Any]:
    """Nested plain values by their path: `{"model.field.width": 32}`."""
    if not isinstance(values, Mapping):
        return {path: values}
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= leaves(value, f"{path}.{name}" if path else str(name))
    return found


def _brief(described: dataclasses.Field[Any], value: Any) -> Any:
    # In most configurations, and in those of earlier runs, data are a name alone.
    return value["type"] if described.metadata.get("kind") == "data" and list(value) == ["type"] else value


def _mapping(values: Any, known: Mapping[str, Any], path: str, of: str = "") -> Mapping[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or 'configuration'}: expected a mapping of settings; got {show(values)}.")
    for name in values:
        if not isinstance(name, str):
            raise ConfigError(f"{path or 'configuration'}: the name of a setting is text; got {show(name)}.")
        if name not in known:
            where = f"{path}." if path else ""
            shown = name if name.isidentifier() and len(name) < 60 else show(name)
            raise ConfigError(f"{where}{shown}: unknown setting{of}. {did_you_mean(name, known)}")
    return values
