"""Reads arrays of images ahead of their use, with Grain: in a thread, or in separate processes."""

import functools
import importlib
import os
import queue
import signal
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import active_children, parent_process
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int

from ._errors import DatasetError, require
from ._random import permutation


# Keeps the random stream of a shuffle separate from that of a split with the same seed.
_EPOCH_STREAM = 1
_EPOCHS = 2**31  # as good as endless
_LOOK_SECONDS = 2.0  # how long to wait for an array before checking the processes that read
_AHEAD = 2  # arrays that a thread, and each of several processes, keeps ready


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


@dataclass(frozen=True)
class _Source:
    """The source that Grain reads: each record is an array of images, so that its work per record is done once for many
    images, and any number of processes gives the same arrays in the same order."""

    images: Any
    plan: Shuffled | InOrder
    first: int

    def __len__(self) -> int:
        return len(self.plan) - self.first

    def __getitem__(self, number: Any) -> np.ndarray:
        return self.images[self.plan[self.first + int(number)]]


class ReadAhead:
    """An iterator over arrays of images, which reads the next ones while the current one is in use."""

    def __init__(self, images: Any, plan: Shuffled | InOrder, *, first: int = 0, workers: int = 0):
        """Nothing is read before the first array is requested.

        **Arguments:**

        - `images`: the images, indexed by the arrays of the plan.
        - `plan`: which images are read together.
        - `first`: number of the array to start with; earlier ones are not read.
        - `workers`: processes that read; 0 for a thread of this process.

        **Raises:**

        `MissingDependencyError` if Grain is missing.
        """
        grain = import_grain()
        self._workers = workers
        self._others, self._own, self._all_there = set(active_children()), set[BaseProcess](), False
        reading = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        if workers == 0:
            reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=_AHEAD)
        found = grain.MapDataset.source(_Source(images, plan, first)).to_iter_dataset(reading)
        if workers:
            _mark_flags()
            # Through pipes: shared memory in a container is often 64 MB, using more kills the process, and what a
            # killed process leaves there stays.
            options = grain.experimental.DatasetOptions(min_shm_size=2**62)
            found = grain.experimental.WithOptionsIterDataset(found, options)
            processes = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=_AHEAD)
            found = found.mp_prefetch(processes, worker_init_fn=_start_worker)
        self._iterator = iter(found)

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        if self._workers == 0:
            return next(self._iterator)
        try:
            return self._watched()
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):
                raise
            raise self._lost(str(error)) from error

    def _watched(self) -> np.ndarray:
        """The next array, read by a thread that may wait forever: Grain does not always notice that a worker is gone,
        and waiting in this thread would delay signals."""
        done: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def read() -> None:
            try:
                done.put((next(self._iterator), None))
            except BaseException as error:  # any error is for the waiting thread
                done.put((None, error))

        threading.Thread(target=read, daemon=True).start()
        while True:
            if not self._all_there:  # others may start their own processes later, which are not ours to watch
                self._own |= set(active_children()) - self._others
            try:
                array, error = done.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                if ended := [process.exitcode for process in self._own if process.exitcode]:
                    raise self._lost(f"its exit code is {ended[0]}.") from None
                continue
            if error is not None:
                raise error
            if not self._all_there:  # they are started before the first array arrives
                self._own |= set(active_children()) - self._others
                self._all_there = True
            return array

    def _lost(self, why: str) -> DatasetError:
        return DatasetError(
            f"expected {self._workers} workers to read images, but one of them ended: {why} A program that "
            "starts workers needs its code under `if __name__ == '__main__':`; a worker that was killed may have "
            "been one too many for the memory, so try fewer, or workers=0"
        )

    def close(self) -> None:
        """Stop the thread or the processes."""
        self._iterator.close()


def import_grain() -> ModuleType:
    """Import Grain.

    **Returns:**

    The module.

    **Raises:**

    `MissingDependencyError` if it is missing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return require("grain", extra="stream")


def _mark_flags() -> None:
    """Grain uses command-line flags that only absl programs have parsed; in other programs there are none."""
    flags = importlib.import_module("absl.flags").FLAGS
    if not flags.is_parsed():
        flags.mark_as_parsed()


def _start_worker(number: int, count: int) -> None:
    """Runs first in each worker: a signal to all processes of a run is for the training process, which stops the
    workers once everything is saved; and no worker outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
