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
import time
import traceback
from collections.abc import Iterator
from typing import IO, Any, cast

import numpy as np

from ._errors import DatasetError


# A worker is a plain interpreter and not a child of `multiprocessing`, so that a program that has workers needs no
# `if __name__ == "__main__":`. What is printed goes to standard error, so that it does not come between the answers.
_START = (
    "import os, pickle, sys; answers = os.dup(1); os.dup2(2, 1); "
    "parent, sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from noprop_ode.data._workers import serve; serve(answers, parent)"
)
_READY = b"noprop_ode reads images\n"  # the answers begin after it; an interpreter may print when it starts


class Workers:
    """Processes that read the arrays of a plan in turn. They start when the first array is requested."""

    def __init__(self, images: Any, plan: Any, *, first: int, count: int):
        """**Arguments:** the images, which are pickled; the plan, whose arrays index them; the number of the array to
        start with; and how many processes there are."""
        self._task, self._first, self._count = (images, plan), first, count
        self._started: list[subprocess.Popen[bytes]] = []
        self._ready: set[int] = set()
        self._closed = False
        self._lock = threading.Lock()

    def read(self, number: int) -> np.ndarray:
        """The array of that number; they must be requested in order.

        **Raises:** whatever reading it raised in the worker; `DatasetError` if the worker ended.
        """
        if not self._started:
            self._start()
        which = (number - self._first) % self._count
        worker = self._started[which]
        answers = cast(IO[bytes], worker.stdout)
        try:
            while which not in self._ready:
                if not (line := answers.readline()):
                    raise EOFError
                if line.endswith(_READY):
                    self._ready.add(which)
            array, error = pickle.load(answers)
        except (EOFError, pickle.UnpicklingError):
            raise self._lost(worker) from None
        except BaseException:
            worker.kill()  # what is left of this answer would be taken for the next
            raise
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
        self._send([pickle.dumps((os.getpid(), sys.path))] * self._count)
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
        worker.kill()  # its pipe may have ended before it
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


def serve(answers: int, parent: int) -> None:
    """What a worker does: reads the arrays of its share, and sends each as soon as the pipe has room.

    **Arguments:** the descriptor of the pipe for them, and the number of the process that started this one.
    """
    # A signal to all processes of a run is for the training process, which ends the workers once everything is saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if sys.platform != "win32":  # a process that reading forks would keep the pipe open when this one is gone
        os.register_at_fork(after_in_child=lambda: os.close(answers))
    with open(answers, "wb", closefd=False) as pipe:
        pipe.write(_READY)
        for answer in _answers():
            pipe.write(answer)
            pipe.flush()


def _answers() -> Iterator[bytes]:
    try:
        images, plan, first, step = pickle.load(sys.stdin.buffer)
    except Exception as error:
        yield _failed(error)
        return
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


def _end_with(parent: int) -> None:
    """Ends this process when its parent has ended, in whatever way."""
    if sys.platform == "win32":
        os.read(0, 1)  # the pipe from the parent ends with it
    else:
        while os.getppid() == parent:  # others that the parent forked may hold the pipe
            time.sleep(1)
    os._exit(1)
