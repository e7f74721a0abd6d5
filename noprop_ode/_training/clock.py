"""The speed of training."""

import time

from .run import Run


class Clock:
    """Measures the wall-clock time of steps. The first call of an epoch, and the first with another number of steps,
    may include compilation and are left out."""

    def __init__(self, run: Run):
        self.run, self.before, self.step, self.size = run, None, run.progress.step, 0

    def tick(self) -> None:
        """A call has ended."""
        now, progress = time.perf_counter(), self.run.progress
        size = progress.step - self.step
        if self.before is not None and size == self.size:
            progress.seconds += now - self.before
            progress.timed_steps += size
        self.before, self.step, self.size = now, progress.step, size

    def restart(self) -> None:
        """Leaves out the time since the last call, which was no step."""
        self.before = time.perf_counter()
