"""What can be wrong with settings, and how messages show it."""

import contextlib
from collections.abc import Iterator

from .. import RunError as RunError
from .._hints import did_you_mean as did_you_mean
from .._wording import show as show


class ConfigError(ValueError):
    """A setting is unknown, has the wrong type, or does not go with the others."""


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
