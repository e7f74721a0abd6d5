"""Batches that are made while a device computes."""

from collections.abc import Iterator
from typing import Generic, TypeVar


_T = TypeVar("_T")


class Ahead(Generic[_T]):
    """An iterator whose next item can be made before it is asked for."""

    def __init__(self, items: Iterator[_T]):
        """**Arguments:** the `items`, which are made when they are asked for."""
        self._items = items
        self._made: list[_T] = []
        self._error: Exception | None = None

    def make(self) -> None:
        """Makes the next item, if there is one. An error is kept for the one who asks for it."""
        if self._made or self._error is not None:
            return
        try:
            self._made.append(next(self._items))
        except StopIteration:
            pass
        except Exception as error:
            self._error = error

    def __iter__(self) -> Iterator[_T]:
        return self

    def __next__(self) -> _T:
        if self._made:
            return self._made.pop()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return next(self._items)
