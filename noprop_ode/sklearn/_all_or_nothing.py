"""Calls that do all that they are for, or nothing."""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """What was learned before, and the kind of rows that it was learned from, outlive a call that is refused."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
