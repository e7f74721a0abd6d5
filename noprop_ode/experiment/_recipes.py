"""Configurations that build on others: `base:` in a file, and the recipes of this package by name."""

import copy
import dataclasses
import functools
from pathlib import Path
from typing import Any

from .._types import AnyPath
from ._config import Config
from ._errors import ConfigError, did_you_mean, show
from ._yaml import parse_yaml, read_text


_FOLDER = Path(__file__).parent / "recipes"
_MAX_BASES = 5


def merge(under: Any, over: Any) -> Any:
    """Merges settings over others. A component with a `type`, or just a name, replaces the one under it; a mapping
    without `type` changes its settings."""
    under = {"type": under} if isinstance(under, str) else under
    if not isinstance(over, dict) or not isinstance(under, dict) or "type" in over:
        return over
    return {**under, **{name: merge(under.get(name), value) for name, value in over.items()}}


@functools.cache
def _recipes() -> dict[str, dict[str, Any]]:
    found = {}
    for file in sorted(_FOLDER.glob("*.yaml")):
        shared = parse_yaml(read_text(file), file.name)
        named = shared.pop("recipes")
        found |= {name: merge(shared, changes) for name, changes in named.items()}
    return dict(sorted(found.items()))


def config_names() -> list[str]:
    """The names of the configurations that come with this package: `digits_ct`, `paper/mnist_ct` and so on."""
    return list(_recipes())


def find_config(name: str) -> dict[str, Any]:
    """A configuration of this package by name, as plain values for [`noprop_ode.experiment.Config.from_plain`][] and
    [`noprop_ode.experiment.override`][].

    **Raises:** `ConfigError` with a hint for an unknown name.
    """
    if name not in _recipes():
        hint = did_you_mean(name, _recipes())
        raise ConfigError(f"There is no configuration {show(name)}. {hint} For a file: --config FILE.")
    return {"name": name, **copy.deepcopy(_recipes()[name])}


def read_yaml(path: Path, above: tuple[Path, ...] = ()) -> dict[Any, Any]:
    """A configuration file as plain values. Its imports are found next to it, and so is its `base`, whose settings it
    changes: a file, or the name of a configuration of this package.

    **Raises:** `ConfigError` if it cannot be read, or its `base` is not in its folder, or a circle.
    """
    values = parse_yaml(read_text(path), str(path))
    if isinstance(values.get("imports"), list):
        values["imports"] = [absolute(name, path.parent) for name in values["imports"]]
    # A section with only comments in it says nothing, and removes nothing from the base.
    sections = {field.name for field in dataclasses.fields(Config)}
    values = {name: value for name, value in values.items() if value is not None or name not in sections}
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base: expected a file or the name of a configuration; got {show(base)}.")
    if not base.endswith((".yaml", ".yml")):
        return merge({k: v for k, v in find_config(base).items() if k != "name"}, values)
    above = (*above, path.resolve())
    file = Path(base) if "\0" in base else (path.parent / base).resolve()
    # Inside its folder: an untrusted configuration must not make us read anything else.
    if "\0" in base or not file.is_relative_to(path.parent.resolve()):
        raise ConfigError(f"{path}: base: expected a file in the same folder; got {show(base)}.")
    if file in above or len(above) > _MAX_BASES:
        chain = " -> ".join(p.name for p in (*above, file))
        raise ConfigError(f"{path}: base: expected at most {_MAX_BASES} files and no circle; got {chain}.")
    return merge(read_yaml(file, above), values)


def absolute(name: Any, folder: Path = Path()) -> Any:
    """Makes an import that is a file an absolute path, so that a run finds it from any working directory."""
    if not isinstance(name, str) or not name.endswith(".py") or "\0" in name:
        return name
    return str((folder / name).resolve())


def load_config(path: AnyPath, *, trust_imports: bool = False) -> Config:
    """The settings in a file, complete and checked.

    **Arguments:** the file, and `trust_imports` as in [`noprop_ode.experiment.Config.from_plain`][].

    **Raises:** `ConfigError`.
    """
    path = Path(path)
    values = {"name": path.stem, **read_yaml(path)}
    return Config.from_plain(values, trust_imports=trust_imports, source=str(path))
