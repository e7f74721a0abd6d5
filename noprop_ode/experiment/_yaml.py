import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import yaml

from ._config import Config
from ._errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Plain values only, and no key twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    values = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        try:
            repeated = key in values
        except TypeError as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key!r} cannot be a name", key_node.start_mark
            ) from error
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
        values[key] = loader.construct_object(value_node, deep=True)
    return values


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_yaml(text: str, source: str) -> dict[Any, Any]:
    """A configuration as plain values.

    **Arguments:** the text, and where it is from, for messages.

    **Returns:** nested dictionaries.

    **Raises:** `ConfigError` for text that is no YAML, or no mapping.
    """
    try:
        values = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: a date such as 2024-99-99.
        raise ConfigError(f"{source} is not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected a mapping of settings; got {type(values).__name__}.")
    return values


def read_yaml(path: Path) -> dict[Any, Any]:
    """A configuration file as plain values; files that it imports are found beside it.

    **Raises:** `ConfigError` if it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error}.") from error
    values = parse_yaml(text, str(path))
    if isinstance(values.get("imports"), list):
        values["imports"] = [absolute(name, path.parent) for name in values["imports"]]
    return values


def absolute(name: Any, folder: Path = Path()) -> Any:
    """An import that is a file as an absolute path, so that a run finds it again from elsewhere."""
    return str((folder / name).resolve()) if isinstance(name, str) and name.endswith(".py") else name


def load_config(path: Path) -> Config:
    """The settings in a file, complete and checked.

    **Raises:** `ConfigError`.
    """
    values = read_yaml(path)
    import_components(values.get("imports") or ())
    return Config.from_plain({"name": path.stem, **values})


def dump_yaml(config: Config) -> str:
    """All settings as YAML; `load_config` gives the same settings back."""
    return yaml.safe_dump(config.to_plain(), sort_keys=False, allow_unicode=True, width=100)


def import_components(names: Any) -> None:
    """Imports modules that register components.

    **Arguments:** `names` of modules, or paths of files that end in .py.

    **Raises:** `ConfigError` if one is missing, or fails.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
        raise ConfigError(f"imports: expected a list of modules or .py files; got {names!r}.")
    for name in names:
        try:
            _import_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"imports: {name} cannot be imported: {type(error).__name__}: {error}") from error


def _import_file(path: Path) -> None:
    path = path.resolve()
    name = f"noprop_ode_imported.{path.stem}_{abs(hash(str(path)))}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.exists():
        raise ConfigError(f"imports: there is no file {path}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
