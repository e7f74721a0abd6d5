"""Logs that outlive the training of a run."""

from collections.abc import Callable
from typing import Any

from .. import Recorded, Run, Stopped


class Lasting:
    """A callback that is told of the end of a run only when it is closed, so that it also records the evaluation, which
    comes after training."""

    def __init__(self, callback: Callable[[Run, Any], None]):
        """**Arguments:** the `callback`."""
        self._callback = callback
        self._run: Run | None = None

    def __call__(self, run: Run, event: Any) -> None:
        self._run = run
        if not isinstance(event, Stopped):
            self._callback(run, event)

    def record(self, kind: str, values: dict[str, Any]) -> None:
        """Adds a record at the last step of the run.

        **Arguments:** the `kind` of record, and its plain values.
        """
        if self._run is not None:
            self._callback(self._run, Recorded({"kind": kind, "step": self._run.progress.step, **values}))

    def close(self) -> None:
        """The run has ended, or failed."""
        if self._run is not None:
            self._callback(self._run, Stopped())
