"""Errors about data."""

from types import ModuleType

from .._optional import need


class DatasetError(ValueError):
    """A data set, or an argument describing one, cannot be used; the message says what to do."""


class DatasetNotFoundError(DatasetError, FileNotFoundError):
    """A data set with a known name is not on this disk."""


class MissingDependencyError(DatasetError, ImportError):
    """An optional package that this data set needs is not installed."""


def require(module: str, *, extra: str = "experiments") -> ModuleType:
    """Import an optional module.

    **Arguments:**

    - `module`: dotted name of the module.
    - `extra`: the extra of this package that installs it.

    **Returns:**

    The imported module.

    **Raises:**

    `MissingDependencyError` naming the extra to install.
    """
    return need(module, "This data set", extra, error=MissingDependencyError)
