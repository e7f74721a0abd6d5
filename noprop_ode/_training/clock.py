"""The speed of training."""

import time

from .run import Run


class Clock:
    """Measures the time of steps. A call may include compilation, and is left out, if it is the first of an epoch, or
    the first with another number of steps."""

    def __init__(self, run: Run):
        self.run, self.before, self.step, self.size = run, None, run.progress.step, 0

    def tick(self) -> None:
        """A call is through."""
        now, progress = time.perf_counter(), self.run.progress
        size = progress.step - self.step
        if self.before is not None and size == self.size:
            progress.seconds += now - self.before
            progress.timed_steps += size
        self.before, self.step, self.size = now, progress.step, size

    def restart(self) -> None:
        """What came since the last call was no step."""
        self.before = time.perf_counter()
