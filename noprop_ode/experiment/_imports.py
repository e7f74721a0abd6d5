"""User modules that register components."""

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from ._errors import ConfigError, show


def import_components(names: Any, *, trust_imports: bool, source: str = "The configuration") -> None:
    """Imports modules that register components.

    **Arguments:**

    - `names`: names of modules, or paths of files that end in .py; `None` for none.
    - `trust_imports`: whether they may run. Otherwise nothing is imported that is not already imported.
    - `source`: where they are named, for messages.

    **Raises:** `ConfigError` if they may not run, or if one is missing or fails.
    """
    names = () if names is None else names
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) and n and "\0" not in n for n in names):
        raise ConfigError(f"imports: expected a list of modules or .py files; got {show(names)}.")
    missing = [name for name in names if _module_name(name) not in sys.modules]
    if missing and not trust_imports:
        raise ConfigError(
            f"{source} imports {', '.join(map(show, missing[:5]))}, and that runs code. If you trust it, pass "
            "trust_imports=True, or --trust-imports on the command line."
        )
    for name in missing:
        try:
            _import_file(Path(name).resolve()) if name.endswith(".py") else importlib.import_module(name)
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"imports: {name} cannot be imported: {type(error).__name__}: {error}") from error


def _module_name(name: str) -> str:
    if not name.endswith(".py"):
        return name
    path = Path(name).resolve()
    return f"noprop_ode_imported.{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"


def _import_file(path: Path) -> None:
    name = _module_name(str(path))
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
