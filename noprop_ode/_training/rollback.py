"""Going back after a non-finite loss."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from .checkpoint import load_arrays, read_header
from .copies import copied
from .generator import NonFiniteLossError
from .processes import arrays_of_first, gathered, on_first, tell
from .run import Progress, Run
from .step import TrainState
from .store import EPOCH


class RollBack:
    """Goes back to the start of the epoch, at half the learning rate, a limited number of times.

    It does not go back to the newest checkpoint, because when that was written depends on wall-clock time.
    """

    def __init__(self, limit: int, place: Callable[[TrainState], TrainState]):
        """**Arguments:** `limit`, how often, and `place`, which puts a state where the checkpoints take it from."""
        self.limit, self.place = limit, place
        self._kept: tuple[TrainState, Progress] | None = None

    def remember(self, run: Run) -> None:
        """Keeps the state at the start of an epoch, to which the run may come back."""
        if self.limit == 0 or run.progress.step > run.progress.epoch * run.steps_per_epoch:
            return
        run.keep(lambda store, whole: store.save(EPOCH, whole, run.header()), run.state)
        if run.store is None or jax.process_count() > 1:
            self._kept = copied(run.state), copy.deepcopy(run.progress)

    def __call__(self, run: Run, error: NonFiniteLossError) -> TrainState:
        """The state to continue from.

        **Raises:** the error, once the rollbacks are used up; the last good state is then the newest checkpoint.
        """
        used = run.progress.rollbacks
        if used >= self.limit:
            run.state = error.state
            run.progress.step = int(run.state.step)
            run.save(newest=True)
            raise error
        state, before = self._recall(run, error)
        run.stopping |= run.progress.stopped
        run.progress = dataclasses.replace(before, rollbacks=used + 1, records=run.progress.records)
        run.record("rollback", step=run.progress.step, failed_step=error.step, rollbacks=used + 1)
        run.state = state = self.place(state)
        run.save(newest=True)  # checkpoints of steps that are now repeated would be taken for newer ones
        return state

    def _recall(self, run: Run, error: NonFiniteLossError) -> tuple[Any, Progress]:
        if self._kept is not None:
            state, before = self._kept
            return copied(state), copy.deepcopy(before)
        like = gathered(error.state)  # the run's own was consumed by the step that failed

        def read() -> tuple[Any, Any]:
            assert run.store is not None
            path = run.store.path(EPOCH)
            return load_arrays(path, like), read_header(path)["progress"]

        state, plain = on_first(read) or (like, None)
        return arrays_of_first(state), Progress.from_plain(tell(plain))
