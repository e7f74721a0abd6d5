"""What goes wrong with data, and the one place where optional packages are imported."""

import importlib
from types import ModuleType


class DatasetError(ValueError):
    """A data set, or an argument describing one, is not usable; the message says what to do."""


class DatasetNotFoundError(DatasetError, FileNotFoundError):
    """A data set is known by name and is not on this disk."""


class MissingDependencyError(DatasetError, ImportError):
    """An optional package that this data set needs is not installed."""


def require(module: str, *, extra: str = "experiments") -> ModuleType:
    """Import an optional module.

    **Arguments:**

    - `module`: dotted name of the module.
    - `extra`: of this package, which brings it.

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
            f'pip install "noprop_ode[{extra}]"'
        ) from error
