"""Settings on the command line: `--epochs 5 --model.field.width 128`, in any order."""

from collections.abc import Sequence
from typing import Any

import yaml

from ._config import Config
from ._errors import ConfigError, did_you_mean
from ._schema import Choice


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
            raise ConfigError(f"Expected a setting such as --training.epochs 5; got {flag!r}.")
        name, equals, text = flag[2:].partition("=")
        if not equals:
            if rest and not rest[0].startswith("--"):
                text = rest.pop(0)
            else:
                text = "true"  # --output.tensorboard
        pairs.append((name.replace("-", "_"), text))
    return pairs


_TEXT = ("name", "description", "data.name", "data.dir", "output.dir")  # never numbers, even if they look like it


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if text.lower() == "none":
        return None
    try:
        value = yaml.safe_load(f"[{text}]" if "," in text and not text.startswith("[") else text)
    except (yaml.YAMLError, ValueError):
        return text
    return text if value is None or not isinstance(value, bool | int | float | str | list | dict) else value


def override(values: dict[str, Any], pairs: Sequence[tuple[str, Any]]) -> Config:
    """Settings with some overridden.

    A path may be shortened to its end where that is the end of one path alone: `epochs` for `training.epochs`. The name
    of a component chooses it, `--model.field mlp`, and its settings then start from their defaults, whichever
    comes first.

    **Arguments:**

    - `values`: nested plain values, as a configuration file has them.
    - `pairs`: from `parse_overrides`; values that are not text are taken as they are.

    **Returns:** the settings.

    **Raises:** `ConfigError`, with a hint, for a path that is unknown or that could be several.
    """
    config = Config.from_plain(values)
    plain = config.to_plain()
    late = []
    for name, value in pairs:
        component = _match(name.removesuffix(".type"), _components(config))
        if component is None:
            late.append((name, value))
            continue
        value = _value(value)
        *parents, last = component.split(".")
        _descend(plain, parents)[last] = value if isinstance(value, dict) else {"type": value}
    config = Config.from_plain(plain)
    plain = config.to_plain()
    paths = _leaves(plain)
    for name, value in late:
        path = _match(name, paths)
        if path is None:
            hint = did_you_mean(name, [*paths, *_components(config), *(p.split(".")[-1] for p in paths)])
            raise ConfigError(f"--{name}: unknown setting. {hint if len(hint) < 300 else ''}".strip())
        *parents, last = path.split(".")
        node = _descend(plain, parents)
        if path not in _TEXT and not isinstance(node[last], str):
            value = _value(value)
        elif value == "none":
            value = None
        node[last] = [value] if _wants_list(path) and isinstance(value, str) else value
    return Config.from_plain(plain)


def _match(name: str, paths: Sequence[str]) -> str | None:
    if name in paths:
        return name
    found = [p for p in paths if p.endswith(f".{name}")]
    if len(found) > 1:
        raise ConfigError(f"--{name} could be any of {', '.join('--' + p for p in found)}; write more of its path.")
    return found[0] if found else None


def _components(config: Config) -> list[str]:
    sections = ("data", "model", "optimiser", "training", "prediction", "output")
    return [
        f"{section}.{name}"
        for section in sections
        for name, value in vars(getattr(config, section)).items()
        if isinstance(value, Choice)
    ]


def _leaves(values: dict[str, Any], path: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        where = f"{path}.{name}" if path else name
        found += _leaves(value, where) if isinstance(value, dict) else [where]
    return found


def _descend(values: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    for name in names:
        values = values[name]
    return values


def _wants_list(path: str) -> bool:
    return path in ("imports", "prediction.protocols")  # one name is a list of one
