"""Reads arrays of images ahead of their use: in a thread, or in separate processes."""

import functools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from ._random import permutation
from ._workers import Workers


# Keeps the random stream of a shuffle separate from that of a split with the same seed.
_EPOCH_STREAM = 1
_EPOCHS = 2**31  # as good as endless
_AHEAD = 2  # arrays that are kept ready


@dataclass(frozen=True)
class Shuffled:
    """The batches of all epochs: the `share` of every `batch_size` images, in an order that depends only on `n`, the
    `seed` and the epoch. An incomplete batch at the end of an epoch is dropped."""

    n: int
    batch_size: int
    seed: int
    share: slice

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self.n // self.batch_size

    def __len__(self) -> int:
        return self.steps * _EPOCHS

    def __getitem__(self, number: int) -> Int[np.ndarray, " m"]:
        epoch, step = divmod(number, self.steps)
        first = step * self.batch_size
        return _order(self.n, self.seed, epoch)[first : first + self.batch_size][self.share]


@functools.lru_cache(maxsize=2)  # of this epoch, and of the next, which is read ahead
def _order(n: int, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    return permutation(n, (_EPOCH_STREAM, seed, epoch))


@dataclass(frozen=True)
class InOrder:
    """`n` images, `size` at a time."""

    n: int
    size: int

    def __len__(self) -> int:
        return -(-self.n // self.size)

    def __getitem__(self, number: int) -> Int[np.ndarray, " m"]:
        return np.arange(number * self.size, min((number + 1) * self.size, self.n))


class ReadAhead:
    """An iterator over arrays of images, which reads the next ones while the current one is in use."""

    def __init__(self, images: Any, plan: Shuffled | InOrder, *, first: int = 0, workers: int = 0):
        """Nothing is read before the first array is requested.

        **Arguments:**

        - `images`: the images, indexed by the arrays of the plan.
        - `plan`: which images are read together.
        - `first`: number of the array to start with; earlier ones are not read.
        - `workers`: processes that read; 0 for a thread of this process.
        """
        self._workers = Workers(images, plan, first=first, count=workers) if workers else None
        self._read = (lambda number: images[plan[number]]) if self._workers is None else self._workers.read
        self._numbers = iter(range(first, len(plan)))
        # The calling thread only waits, so that signals arrive; with workers this one waits for them, and unpacks.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="noprop_ode reads images")
        self._coming: deque[Future[np.ndarray]] = deque()

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        while len(self._coming) <= _AHEAD and (number := next(self._numbers, None)) is not None:
            self._coming.append(self._thread.submit(self._read, number))
        if not self._coming:
            raise StopIteration
        return self._coming.popleft().result()

    def close(self) -> None:
        """Stop the thread, after the array that it is reading, or the processes, at once."""
        self._numbers = iter(())
        while self._coming:
            self._coming.pop().cancel()
        if self._workers is not None:
            self._workers.close()
        self._thread.shutdown()
