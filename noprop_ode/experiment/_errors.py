"""Errors about settings, and how messages show them."""

import contextlib
from collections.abc import Iterator

from .. import RunError as RunError
from .._hints import did_you_mean as did_you_mean
from .._wording import show as show


class ConfigError(ValueError):
    """A setting is unknown, has the wrong type, or does not fit the others."""


@contextlib.contextmanager
def within(path: str) -> Iterator[None]:
    """Constructors say what is wrong with their arguments; this adds where it is in the configuration."""
    try:
        yield
    except ConfigError:
        raise
    except (ValueError, TypeError, ArithmeticError, MemoryError) as error:
        text = str(error).strip() or type(error).__name__
        raise ConfigError(f"{path}: {text if len(text) < 600 else text[:600] + ' ...'}") from error
