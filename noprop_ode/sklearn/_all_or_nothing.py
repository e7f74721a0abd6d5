"""Calls that either complete or change nothing."""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """If a call fails, the estimator keeps what it learned before, and from which kind of rows."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
