"""Processes that read images, each over a pipe of its own.

Nothing is shared between them, no lock and no queue: when one is killed, even in the middle of an array, its pipe ends,
and that is noticed at once.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import IO, Any, cast

import numpy as np

from ._errors import DatasetError


# A worker is a plain interpreter and not a child of `multiprocessing`, so that a program that has workers needs no
# `if __name__ == "__main__":`.
_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from noprop_ode.data._workers import serve; serve()"
)


class Workers:
    """Processes that read the arrays of a plan in turn. They start when the first array is requested."""

    def __init__(self, images: Any, plan: Any, *, first: int, count: int):
        """**Arguments:** the images, which are pickled; the plan, whose arrays index them; the number of the array to
        start with; and how many processes there are."""
        self._task, self._first, self._count = (images, plan), first, count
        self._started: list[subprocess.Popen[bytes]] = []
        self._closed = False
        self._lock = threading.Lock()

    def read(self, number: int) -> np.ndarray:
        """The array of that number; they must be requested in order.

        **Raises:** whatever reading it raised in the worker; `DatasetError` if the worker ended.
        """
        if not self._started:
            self._start()
        worker = self._started[(number - self._first) % self._count]
        try:
            array, error = pickle.load(cast(IO[bytes], worker.stdout))
        except (EOFError, pickle.UnpicklingError):
            raise self._lost(worker) from None
        if error is not None:
            raise error
        return array

    def _start(self) -> None:
        for _ in range(self._count):
            with self._lock:
                if self._closed:
                    return
                # In a session of its own: a signal from the terminal is for the training process.
                self._started.append(
                    subprocess.Popen(
                        [sys.executable, "-c", _START],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        start_new_session=True,
                    )
                )
        # First what each needs in order to import: the first takes its task when it has, and a pipe has little room.
        self._send([pickle.dumps(sys.path)] * self._count)
        self._send([pickle.dumps((*self._task, self._first + i, self._count)) for i in range(self._count)])

    def _send(self, messages: list[bytes]) -> None:
        for worker, message in zip(self._started, messages, strict=True):
            pipe = cast(IO[bytes], worker.stdin)
            try:
                pipe.write(message)
                pipe.flush()
            except BrokenPipeError:
                raise self._lost(worker) from None

    def _lost(self, worker: subprocess.Popen[bytes]) -> DatasetError:
        return DatasetError(
            f"expected {self._count} workers to read images, but one of them ended: its exit code is {worker.wait()}. "
            "One that was killed may have been one too many for the memory, so try fewer, or workers=0"
        )

    def close(self) -> None:
        """End the processes at once: they write nothing, so nothing is lost."""
        with self._lock:
            self._closed = True
        for worker in self._started:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                with contextlib.suppress(OSError):  # part of its task may not have been written
                    cast(IO[bytes], pipe).close()


def serve() -> None:
    """What a worker does: reads the arrays of its share, and sends each as soon as the pipe has room."""
    # A signal to all processes of a run is for the training process, which ends the workers once everything is saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed must not come between the answers
    for answer in _answers():
        answers.write(answer)
        answers.flush()


def _answers() -> Iterator[bytes]:
    try:
        images, plan, first, step = pickle.load(sys.stdin.buffer)
    except Exception as error:
        yield _failed(error)
        return
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for number in range(first, len(plan), step):
        try:
            answer = pickle.dumps((images[plan[number]], None), protocol=5)
        except Exception as error:
            answer = _failed(error)
        yield answer


def _failed(error: Exception) -> bytes:
    error.add_note("In a worker:\n" + "".join(traceback.format_exception(error)))
    try:
        answer = pickle.dumps((None, error))
        pickle.loads(answer)
        return answer
    except Exception:  # of a class that cannot be sent
        return pickle.dumps((None, RuntimeError(f"A worker that reads images failed: {error!r}")))


def _end_with_parent() -> None:
    """The pipe from the parent ends when the parent does, in whatever way."""
    os.read(0, 1)
    os._exit(1)
