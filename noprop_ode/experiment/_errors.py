"""What can be wrong with settings, and how messages show it."""

import contextlib
import reprlib
from collections.abc import Iterator
from typing import Any

from .. import RunError as RunError
from .._hints import did_you_mean as did_you_mean


class ConfigError(ValueError):
    """A setting is unknown, has the wrong type, or does not go with the others."""


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 60, 60


def show(value: Any) -> str:
    """A value for a message: short, however large it is, and with nothing that a terminal would obey."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python itself refuses to write whole numbers of thousands of digits
        return f"{type(value).__name__} too long to show"


@contextlib.contextmanager
def within(path: str) -> Iterator[None]:
    """Constructors say what is wrong with their arguments; the reader of a configuration must know where it is."""
    try:
        yield
    except ConfigError:
        raise
    except (ValueError, TypeError, ArithmeticError, MemoryError) as error:
        text = str(error).strip() or type(error).__name__
        raise ConfigError(f"{path}: {text if len(text) < 600 else text[:600] + ' ...'}") from error
