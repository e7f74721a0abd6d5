"""What goes wrong with data, and the one place where optional packages are imported."""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class DatasetError(ValueError):
    """A data set, or an argument describing one, is not usable; the message says what to do."""


class DatasetNotFoundError(DatasetError, FileNotFoundError):
    """A data set is known by name and is not on this disk."""


class MissingDependencyError(DatasetError, ImportError):
    """An optional package that this data set needs is not installed."""


def require(module: str) -> ModuleType:
    """Import an optional module.

    **Arguments:**

    - `module`: dotted name of the module.

    **Returns:**

    The imported module.

    **Raises:**

    `MissingDependencyError` naming the extra to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"this needs `{module.split('.')[0]}`, which cannot be imported ({error}); "
            'pip install "noprop_ode[experiments]"'
        ) from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the nearest known names.

    **Arguments:**

    - `name`: what was typed.
    - `known`: the names that would have worked.

    **Returns:**

    A sentence with a leading space, or nothing where no name is near.
    """
    near = difflib.get_close_matches(name.lower(), sorted(set(known)), n=3)
    return f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
