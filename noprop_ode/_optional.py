"""Optional packages."""

import importlib
from types import ModuleType

from ._training.errors import RunError


def need(module: str, what: str, extra: str = "experiments", *, error: type[Exception] = RunError) -> ModuleType:
    """Imports an optional package.

    **Arguments:** the name of the module, what needs it, the extra that installs it, and the class of the error.

    **Raises:** the error if it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as found:
        raise error(
            f"{what} needs {module.partition('.')[0]}, which cannot be imported here ({found}): "
            f'pip install "noprop_ode[{extra}]".'
        ) from found
