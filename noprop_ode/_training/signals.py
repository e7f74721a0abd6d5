"""SIGINT and SIGTERM as a request to finish the step and save."""

import contextlib
import os
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any

from .errors import Interrupted


_ECHO_SECONDS = 1.0


class SignalGuard:
    """While active, acknowledges SIGINT and SIGTERM at once and notes them, so that a step can be finished and saved.
    The second signal of a kind acts as usual; but a SIGTERM within a second of the first counts as the same one,
    because a scheduler that signals every process of a job reaches a child both directly and through its parent."""

    def __init__(self):
        self._received = 0
        self._first: dict[int, float] = {}
        self._before: dict[int, Any] = {}
        self._untold: set[int] = set()
        self._waker: tuple[socket.socket, int] | None = None

    def __enter__(self) -> "SignalGuard":
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is None:
                continue  # its handler was not set by Python, and could not be put back
            try:
                self._before[number] = signal.signal(number, self._note)
                self._untold.add(number)
            except ValueError:  # not in the main thread: whoever runs us there handles signals
                return self
        self._listen()
        return self

    def __exit__(self, kind: Any, *exception: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._waker is not None:
            waker, before = self._waker
            signal.set_wakeup_fd(before)
            waker.close()  # which ends the thread
        if kind is None and self._received:
            raise interruption(self._received)  # it came when there was nothing left to stop, and was acknowledged

    @property
    def received(self) -> int:
        """The number of the signal received; 0 before any."""
        return self._received

    def _note(self, number: int, frame: FrameType | None) -> None:
        now, second, self._received = time.monotonic(), number in self._first, number
        echo = number == signal.SIGTERM and now - self._first.setdefault(number, now) < _ECHO_SECONDS
        if not echo:
            signal.signal(number, self._before[number])
            if second:
                signal.raise_signal(number)
        self._tell(number)

    def _listen(self) -> None:
        """Python runs a handler between two of its own instructions, and a compilation is one that takes a minute;
        another thread that waits for the signal can acknowledge it meanwhile."""
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        if before != -1:  # something else waits for signals: the handler has to suffice
            signal.set_wakeup_fd(before)
            reader.close()
            writer.close()
            return
        self._waker = writer, before
        threading.Thread(target=self._wait, args=(reader,), daemon=True).start()

    def _wait(self, reader: socket.socket) -> None:
        with reader:
            while numbers := reader.recv(16):
                for number in numbers:
                    self._tell(number)

    def _tell(self, number: int) -> None:
        try:
            self._untold.remove(number)  # in one go: the handler and the thread may both be here
        except KeyError:
            return
        text = f"\n{signal.Signals(number).name}: finishing the step and saving; once more to stop at once\n"
        with contextlib.suppress(OSError):
            os.write(2, text.encode())  # not through Python's buffer, which the interrupted code may be writing to


def interruption(number: int, state: Any = None, folder: Any = None) -> Interrupted:
    """The exception to raise after a signal, once everything is saved, with its number, and the state and the folder of
    the run."""
    way_on = "" if state is None else f"stopped after step {int(state.step)}. "
    if folder is not None:
        way_on += f"The run is saved in {folder.path}; the same call with resume=True goes on."
    elif state is not None:
        way_on += "Without a folder nothing is saved, but the exception has the last `state`."
    return Interrupted(signal.Signals(number).name, 128 + number, state, way_on=way_on)
