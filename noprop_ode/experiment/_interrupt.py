import signal
from types import FrameType
from typing import Any


class Interrupted(Exception):
    """A run was asked to stop by a signal, and has saved itself."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class SignalGuard:
    """While in force, SIGINT and SIGTERM only leave a note in `received`, so that a step can be finished and saved. The
    second signal of a kind acts as it always does."""

    def __init__(self):
        self.received: int | None = None
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

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        signal.signal(number, self._before[number])
