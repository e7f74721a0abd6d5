"""A run as its callbacks see it: its state, its progress and its events."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from .._model import AbstractModel
from .copies import take_over
from .folder import RunFolder
from .parallel import Parallel
from .processes import agreed, gathered, on_first, tell
from .sharded import save_parts
from .step import Metrics, TrainState, finite, rows
from .store import CheckpointStore


@dataclass
class Progress:
    """What a run knows about itself besides the weights; saved with every checkpoint.

    - `step`, `epoch`: steps taken, epochs finished.
    - `best_accuracy`, `best_epoch`, `stale`: best validation accuracy (-1 before any), its epoch, validations since.
    - `rollbacks`, `records`: how often the run went back, and how many records it has written.
    - `seconds`, `timed_steps`: time spent in steps, excluding compilation, and the number of those steps.
    - `wall_seconds`: wall-clock time from the start to the last checkpoint, excluding time while the run was stopped.
    - `stopped`: whether a callback ended the run early.
    - `notes`: plain values of callbacks, by name, that they need again after a resume.
    """

    step: int = 0
    epoch: int = 0
    best_accuracy: float = -1.0
    best_epoch: int = 0
    stale: int = 0
    rollbacks: int = 0
    records: int = 0
    seconds: float = 0.0
    timed_steps: int = 0
    wall_seconds: float = 0.0
    stopped: bool = False
    notes: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_plain(values: dict[str, Any]) -> "Progress":
        """The progress in the plain values of a checkpoint.

        **Raises:** `ValueError` or `TypeError` if they are of another kind.
        """
        progress = Progress(**values)
        for name, default in vars(Progress()).items():
            found = getattr(progress, name)
            if type(found) is not type(default) and not (type(default) is float and type(found) is int):
                raise TypeError(f"{name} is {type(found).__name__}")
            if isinstance(found, int | float) and not abs(found) < 2**63:  # NaN is not, either
                raise ValueError(f"{name} is beyond all measure")
        if min(progress.step, progress.epoch, progress.rollbacks, progress.records) < 0:
            raise ValueError("negative counts")
        return progress

    @property
    def rate_scale(self) -> float:
        """The factor on the optimiser's updates: a half for every rollback."""
        return 0.5**self.rollbacks


@dataclass(frozen=True)
class Started:
    """The run begins, or continues."""


@dataclass(frozen=True)
class Stepped:
    """A call on the device has ended: its `metrics`, of one step or of several, in epoch number `epoch`, from 1."""

    metrics: Metrics
    epoch: int


@dataclass(frozen=True)
class EpochEnded:
    """An epoch has ended: its number `epoch`, from 1. Its checkpoint is written once every callback has seen this."""

    epoch: int


@dataclass(frozen=True)
class Recorded:
    """A record for the logs: plain `values`, including the `kind` of record and, if it has one, the `step`."""

    values: dict[str, Any]


@dataclass(frozen=True)
class Stopped:
    """The run has ended, or failed; only records that callbacks make on this event can follow."""


Event: TypeAlias = Started | Stepped | EpochEnded | Recorded | Stopped
Callback: TypeAlias = Callable[["Run", Event], None]


@dataclass
class Run:
    """A run of [`noprop_ode.fit`][], as its callbacks see it.

    - `state`, `progress`: the [`noprop_ode.TrainState`][] and the [`noprop_ode.Progress`][].
    - `train`, `validation`: the data; `validation` may be `None`. A callback may give the run other training data, with
        as many batches, for the next epochs; on `Started` too, by `progress.epoch`, so that a resumed run has the same.
    - `epochs`, `batch_size`, `steps_per_epoch`: how long the run is.
    - `folder`: where files go, or `None`; with several processes, only the first has one.
    - `metadata`: plain values to save with every checkpoint.
    - `in_parts`: whether every process writes its own part of a checkpoint.
    """

    state: TrainState
    progress: Progress
    train: Any
    validation: Any
    epochs: int
    batch_size: int
    folder: RunFolder | None
    store: CheckpointStore | None
    metadata: dict[str, Any]
    in_parts: bool = False
    callbacks: Sequence[Callback] = ()

    def __post_init__(self):
        self._began = time.perf_counter()
        self.saved = time.monotonic()  # when the last checkpoint was written
        self.stopping = False  # requested in steps that were taken back
        self._began_finite = self.is_finite()  # a model may have infinite weights on purpose
        self._own: TrainState | None = None  # a state whose arrays nobody else has

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch; an incomplete batch is left out."""
        return len(self.train.labels) // self.batch_size

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def evaluation_model(self) -> AbstractModel:
        """The model to evaluate: the moving average if there is one. A later step consumes its arrays."""
        return self.state.evaluation_model

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        epoch, step = self.progress.epoch, self.progress.step
        # A run that was stopped within an epoch still has the rest of it to do, if only the validation at its end.
        return epoch >= self.epochs or (self.progress.stopped and step <= epoch * self.steps_per_epoch)

    @property
    def images_per_second(self) -> float | None:
        """Training images per second, excluding compilation and evaluation; `None` before it is known."""
        if self.progress.timed_steps == 0:
            return None
        return self.progress.timed_steps * self.batch_size / max(self.progress.seconds, 1e-9)

    def go_on_from(self, state: TrainState, plain: dict[str, Any]) -> None:
        """Continues from a checkpoint: its state, and its progress as plain values."""
        self.state, self.progress, self.saved = state, Progress.from_plain(plain), time.monotonic()
        self._began -= self.progress.wall_seconds

    def own(self, parallel: Parallel | None) -> TrainState:
        """The state for steps that consume it: what a step left, or else a copy; `parallel` makes its own."""
        if parallel is None and self.state is not self._own:
            self._own = take_over(self)
        return self.state

    def emit(self, event: Event) -> None:
        """Passes an event to every callback in order; the end in reverse order, so that logs, which come first, hear
        of what the others record then."""
        for callback in reversed(self.callbacks) if isinstance(event, Stopped) else self.callbacks:
            callback(self, event)

    def record(self, kind: str, **values: Any) -> None:
        """Writes a record to the logs, and counts it: what follows a checkpoint is written again after a resume.

        **Arguments:** the `kind` of record, and its plain values.
        """
        self.emit(Recorded({"kind": kind, **values}))
        self.progress.records += 1

    def record_steps(
        self, metrics: Metrics, rate: Callable[[int], float] | None = None, *, until: int | None = None
    ) -> None:
        """Records the steps of a call.

        **Arguments:** their metrics, the learning rate by step, and the last good step, if not all of them are good.
        """
        self._own = self.state
        for row in rows(metrics):
            if row["step"] <= self.progress.step:
                continue  # recorded before the call was found to be bad
            if until is not None and row["step"] > until:
                return
            if rate is not None:
                row["learning_rate"] = rate(int(row["step"]) - 1) * self.progress.rate_scale
            self.record("train", **row, epoch=self.progress.epoch + 1)
            self.progress.step = int(row["step"])
            self.progress.stopped |= self.stopping

    def is_finite(self) -> bool:
        """Whether the weights are finite, on all processes."""
        return not any(agreed(not finite(self.state.model)))

    def stop(self) -> None:
        """Ends the run after this epoch."""
        self.progress.stopped = True

    def save(self, *, newest: bool = False) -> None:
        """Writes a checkpoint, if the run has a folder.

        **Arguments:** `newest`: whether to remove checkpoints of later steps, which will be repeated, once written.

        **Raises:** [`noprop_ode.RunError`][] if that fails.
        """
        # If weights are not finite, the next step will say so; the run can continue from the checkpoint before.
        if tell(self.store is not None) and (self.is_finite() or not self._began_finite):
            self._write(newest)
        self.saved = time.monotonic()

    def _write(self, newest: bool) -> None:
        step, store = self.progress.step, self.store
        if not self.in_parts:
            header = self.header()
            return self.keep(lambda store, state: store.save_step(step, state, header, newest=newest), self.state)
        path = tell(on_first(lambda: None if store is None else str(store.part_path(step))))
        if path is not None:
            save_parts(Path(path), self.state, tell(self.header()))
            on_first(lambda: None if store is None else store.prune(step if newest else None))

    def keep(self, write: Callable[[CheckpointStore, Any], None], tree: Any) -> None:
        """Passes the store and a PyTree to a function that writes it, if the run has a folder; with several processes,
        only on the first, with arrays gathered from all."""
        if tell(self.store is not None):
            whole = gathered(tree)
            on_first(lambda: write(self.store, whole))  # pyright: ignore[reportArgumentType]

    def header(self) -> dict[str, Any]:
        """What a checkpoint says about the run."""
        self.progress.wall_seconds = time.perf_counter() - self._began
        return {**self.metadata, "progress": dataclasses.asdict(self.progress)}
