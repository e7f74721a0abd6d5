import contextlib
import difflib
import reprlib
from collections.abc import Iterable, Iterator
from typing import Any


class ConfigError(ValueError):
    """A setting is unknown, has the wrong type, or does not go with the others."""


class RunError(RuntimeError):
    """A run cannot be started, continued or read."""


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word: the likeliest known ones, else all of them.

    **Arguments:**

    - `word`: what was written.
    - `known`: what could have been meant.

    **Returns:** the hint, as a sentence.
    """
    known = sorted(known)
    close = difflib.get_close_matches(word[:200], known, n=3, cutoff=0.6)
    # "steps" for "evaluation_steps": a part of a name is no close match, but a likely intention.
    close += [k for k in known if word and word in k.split(".")[-1] and k not in close][:3]
    if close:
        return f"Did you mean {' or '.join(repr(c) for c in close)}?"
    return f"Known are {', '.join(known)}." if known else "None is known here."
