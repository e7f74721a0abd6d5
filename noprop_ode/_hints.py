"""Hints for misspelt words, for errors throughout the package."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str | None = None) -> str:
    """A hint for a misspelt word: the closest known words, or else all of them.

    **Arguments:**

    - `word`: what was written.
    - `known`: what could have been meant.
    - `otherwise`: what to say if nothing is close; `None` to list all known words.

    **Returns:** the hint, as a sentence.
    """
    known = sorted(set(known))
    close = difflib.get_close_matches(word[:200], known, n=3, cutoff=0.6)
    # "steps" for "evaluation_steps": a part of a name is no close match, but a likely intention.
    close += [k for k in known if word and word in k.split(".")[-1] and k not in close][:3]
    if close:
        return f"Did you mean {' or '.join(repr(c) for c in close)}?"
    if otherwise is not None:
        return otherwise
    return f"Known are {', '.join(known)}." if known else "None is known here."
