"""Settings on the command line: `--epochs 5 --model.field.width 128`, in any order."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from ._config import Config
from ._errors import ConfigError, did_you_mean, show
from ._registry import settings_of
from ._schema import Choice
from ._yaml import parse_value


_ALIASES = {"data_dir": "data.dir", "out": "output.dir"}


def parse_overrides(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Flags and their values.

    **Arguments:** `arguments`, such as `["--epochs", "5", "--model.field=mlp"]`.

    **Returns:** pairs of a path, or the end of one, and the text of the value.

    **Raises:** `ConfigError` for anything else.
    """
    pairs, rest = [], list(arguments)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--") or len(flag) == 2:
            raise ConfigError(f"Expected a setting such as --training.epochs 5; got {show(flag)}.")
        name, equals, text = flag[2:].partition("=")
        if not equals:  # a flag alone, --output.tensorboard, is true
            text = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        name = name.replace("-", "_")
        pairs.append((_ALIASES.get(name, name), text))
    return pairs


def override(values: dict[str, Any], pairs: Sequence[tuple[str, Any]], *, trust_imports: bool = False) -> Config:
    """Settings with some overridden.

    A path may be shortened to its end if that is unambiguous: `epochs` for `training.epochs`. The name of a component
    chooses it, `--model.field mlp`, and its settings then start from their defaults, whichever comes first.

    **Arguments:**

    - `values`: nested plain values, as a configuration file has them.
    - `pairs`: from `parse_overrides`; values that are not text are taken as they are.
    - `trust_imports`: as in [`noprop_ode.experiment.Config.from_plain`][].

    **Returns:** the settings.

    **Raises:** `ConfigError`, with a hint, for a path that is unknown or ambiguous.
    """
    config = Config.from_plain(values, trust_imports=trust_imports)
    plain, (whole, components) = config.to_plain(), _settings(config)
    # A full path means itself, `name` and not the end of `data.name`; but the type of a component is the component.
    chosen = {
        name: _match(name.removesuffix(".type"), components) if name.endswith(".type") or name not in whole else None
        for name, _ in pairs
    }
    for name, value in pairs:
        if (path := chosen[name]) is not None:
            if isinstance(value, str) and value.startswith("{"):
                value = _read(value, None)
            _put(plain, path, value if isinstance(value, dict) else {"type": value})
    config = Config.from_plain(plain)
    plain, (leaves, _) = config.to_plain(), _settings(config)
    for name, value in pairs:
        if chosen[name] is not None:
            continue
        if (path := _match(name, leaves)) is None:
            hint = did_you_mean(name, [*leaves, *components, *(p.split(".")[-1] for p in leaves)])
            raise ConfigError(f"--{name[:60]}: unknown setting. {hint if len(hint) < 300 else ''}".strip())
        _put(plain, path, _read(value, leaves[path]))
    return Config.from_plain(plain)


def _settings(section: Any, path: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """The paths of settings with their annotations, and those of components with their kinds."""
    leaves: dict[str, Any] = {}
    components: dict[str, str] = {}
    for field in dataclasses.fields(section):
        where, value = f"{path}{field.name}", getattr(section, field.name)
        if isinstance(value, Choice):
            components[where] = field.metadata["kind"]
            known = settings_of(components[where], value.type)
            leaves |= {f"{where}.type": str} | {f"{where}.{name}": kind for name, (kind, _) in known.items()}
        elif dataclasses.is_dataclass(value):
            inner_leaves, inner_components = _settings(value, f"{where}.")
            leaves, components = leaves | inner_leaves, components | inner_components
        else:
            leaves[where] = field.type
    return leaves, components


def _match(name: str, paths: Iterable[str]) -> str | None:
    if name in paths:
        return name
    found = [p for p in paths if p.endswith(f".{name}")]
    if len(found) > 1:
        raise ConfigError(f"--{name} could be any of {', '.join('--' + p for p in found)}; write more of its path.")
    return found[0] if found else None


def _put(plain: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        plain = plain[name]
    plain[last] = value


def _read(text: Any, annotation: Any) -> Any:
    """The text of a flag, converted for its setting: a path that looks like a number stays text."""
    if not isinstance(text, str):
        return text
    kinds = get_args(annotation) if type(None) in get_args(annotation) else (annotation,)
    if any(get_origin(k) is Literal and text in get_args(k) for k in kinds):
        return text
    if type(None) in kinds and text.lower() in ("none", "null"):
        return None
    if str in kinds or Path in kinds:
        return text
    sequences = [k for k in kinds if get_origin(k) is tuple]
    if sequences and not text.startswith("["):  # one value is a list of one
        return [_read(part.strip(), get_args(sequences[0])[0]) for part in text.split(",")]
    try:
        return parse_value(text)
    except ConfigError:
        return text
