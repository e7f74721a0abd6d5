"""SIGINT and SIGTERM as a note to finish the step and save."""

import os
import signal
from types import FrameType
from typing import Any

from .errors import Interrupted


class SignalGuard:
    """While in force, SIGINT and SIGTERM are acknowledged at once and leave a note, so that a step can be finished and
    saved. The second signal of a kind acts as it always does."""

    def __init__(self):
        self._received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "SignalGuard":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread: whoever runs us there handles signals
                break
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def received(self) -> int:
        """The number of the signal that came; 0 before one."""
        return self._received

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        signal.signal(number, self._before[number])
        text = f"\n{signal.Signals(number).name}: finishing the step and saving; once more to stop at once\n"
        try:
            os.write(2, text.encode())  # no buffer of Python's, which the interrupted code may be writing to
        except OSError:
            pass


def interruption(number: int) -> Interrupted | None:
    """What to raise after a signal, once everything is saved; `None` for 0, which is no signal."""
    return Interrupted(signal.Signals(number).name, 128 + number) if number else None
