"""Configurations as text: YAML that is only data, and of bounded size."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._optional import need
from .._training.files import reason
from ._config import Config
from ._errors import ConfigError, show


_MAX_TEXT, _MAX_DEPTH = 1_000_000, 20
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_WHOLE = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")
_NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*\.?[0-9]*)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)


def parse_value(text: str, source: str = "") -> Any:
    """One plain value, nested at most 20 deep: a YAML mapping, sequence, string, number, boolean or null.

    PyYAML's constructors are not used: they follow aliases without bound, and make dates and other objects.

    **Raises:** `ConfigError` for text that is not YAML, has tags or anchors, or is larger than any configuration.
    """
    if len(text) > _MAX_TEXT:
        raise ConfigError(f"{source}: a configuration has at most {_MAX_TEXT} characters; got {len(text)}.")
    yaml = need("yaml", "Reading a configuration")
    try:
        return _compose(yaml, yaml.parse(text, yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, OverflowError, IndexError) as error:
        # ValueError, OverflowError: an escape that is not a character.
        raise ConfigError(f"{source} is not valid YAML: {error}".strip()) from error


def _compose(yaml: Any, events: Iterable[Any]) -> Any:
    top: list[Any] = []
    stack: list[tuple[list[Any], Any]] = [(top, None)]  # each open sequence or mapping: its values, and its start
    for event in events:
        line = event.start_mark.line + 1
        if getattr(event, "tag", None) not in (None, "!"):
            raise ValueError(f"line {line}: tags such as {show(event.tag)} are for no setting; write the value alone")
        if getattr(event, "anchor", None) is not None:  # of an alias, too
            raise ValueError(
                f"line {line}: anchors and aliases, here {show(event.anchor)}, are not read; repeat the value"
            )
        if isinstance(event, yaml.CollectionStartEvent):
            if len(stack) > _MAX_DEPTH:
                raise ValueError(f"line {line}: nested more than {_MAX_DEPTH} deep")
            stack.append(([], event))
        elif isinstance(event, yaml.ScalarEvent):
            stack[-1][0].append(_scalar(event.value) if event.implicit[0] else event.value)
        elif isinstance(event, yaml.CollectionEndEvent):
            items, opened = stack.pop()
            stack[-1][0].append(_mapping(items, line) if isinstance(opened, yaml.MappingStartEvent) else items)
    if len(top) > 1:
        raise ValueError("it is more than one document")
    return top[0] if top else None


def _mapping(items: list[Any], line: int) -> dict[Any, Any]:
    values: dict[Any, Any] = {}
    for name, value in zip(items[::2], items[1::2]):
        if isinstance(name, list | dict):
            raise ValueError(f"line {line}: {show(name)} cannot be a name")
        if name in values:
            raise ValueError(f"line {line}: {show(name)} is given twice")
        values[name] = value
    return values


def _scalar(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if len(text) > 60 or not _NUMBER.fullmatch(text):
        return text
    return int(text) if _WHOLE.fullmatch(text) else float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def parse_yaml(text: str, source: str) -> dict[Any, Any]:
    """A configuration as nested dictionaries of plain values.

    **Arguments:** the text, and where it is from, for messages.

    **Raises:** `ConfigError` for text that is not YAML, or not a mapping.
    """
    values = parse_value(text, source)
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"{source}: expected a mapping of settings; got {type(values).__name__}.")
    return values or {}


def read_text(path: Path) -> str:
    """The text of a configuration file.

    **Raises:** `ConfigError` if it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"The configuration {path} is not a file.")
        with path.open("rb") as file:
            return file.read(_MAX_TEXT + 1).decode("utf-8")
    except (OSError, ValueError) as error:  # ValueError: text that is not UTF-8, or a path with a null byte
        raise (
            error
            if isinstance(error, ConfigError)
            else ConfigError(f"The configuration {show(str(path))} cannot be read: {reason(error)}.")
        ) from error


def dump_yaml(config: Config) -> str:
    """All settings as YAML, from which `load_config` restores the same settings."""
    yaml = need("yaml", "Writing a configuration")

    class Dumper(yaml.SafeDumper):
        """PyYAML quotes what its own rules do not read as text, but we also read `08` and `1e5` as numbers."""

        def represent_str(self, text: str) -> Any:
            return self.represent_scalar("tag:yaml.org,2002:str", text, None if _scalar(text) == text else "'")

    Dumper.add_representer(str, Dumper.represent_str)
    return yaml.dump(config.to_plain(), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
