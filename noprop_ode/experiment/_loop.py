import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.random as jr
import numpy as np
from tqdm import tqdm

from .. import AbstractModel, Metrics, NonFiniteLossError, Prediction, TrainState, data, evaluate, train
from .._types import Key
from ._build import build_optimiser
from ._checkpoint import load_arrays, read_header, save_arrays
from ._config import Config
from ._interrupt import Interrupted, SignalGuard
from ._progress import Progress
from ._store import CheckpointStore


_ROLLBACK = "epoch.noprop"


class Trainer:
    """The training of one run: steps, validation, checkpoints, and going back after a loss that is not finite.

    Everything that follows from a checkpoint is a function of it, of the settings and of the data: a run that is
    stopped and resumed arrives at the same weights, to the last bit.
    """

    def __init__(
        self,
        config: Config,
        model: AbstractModel,
        splits: data.Splits,
        prediction: Prediction,
        *,
        key: Key,
        store: CheckpointStore,
        log: Callable[[str, dict[str, Any]], None],
        metadata: dict[str, Any],
    ):
        """**Arguments:**

        - `config`: the settings.
        - `model`: the untrained model.
        - `splits`: the data, with a validation part.
        - `prediction`: how to predict for validation.
        - `key`: randomness of training and validation.
        - `store`: where checkpoints go.
        - `log`: takes the kind of a record and its values.
        - `metadata`: plain values for the header of every checkpoint.
        """
        assert splits.validation is not None
        self.config, self.train_set, self.validation = config, splits.train, splits.validation
        self.store, self._write, self.metadata = store, log, metadata
        self.steps_per_epoch = len(splits.train) // config.training.batch_size
        self.num_steps = config.training.epochs * self.steps_per_epoch
        self.train_key, self.augment_key, self.validation_key = jr.split(key, 3)
        on_cpu = jax.default_backend() == "cpu"
        self.steps_per_call = config.training.steps_per_call or (1 if on_cpu else 16)
        self.augment = config.data.augmentation.build("augmentation")
        self.prediction = prediction
        self.progress = Progress()
        self.state = self._new_state(model)
        self._saved_at = time.monotonic()

    def _new_state(self, model: AbstractModel) -> TrainState:
        optimiser = build_optimiser(self.config, self.num_steps, model=model, rate_scale=self.progress.rate_scale)
        decay = self.config.training.average_decay
        return TrainState.create(model, optimiser, key=self.train_key, average_decay=decay)

    def resume(self) -> bool:
        """Goes on from the newest good checkpoint.

        **Returns:** whether there was one.

        **Raises:** `RunError` if there are checkpoints and none can be used.
        """
        found = self.store.load_newest(self.state)
        if found is None:
            return False
        state, metadata = found
        self.progress = Progress(**metadata["progress"])
        self.state = self._with_rate(state)
        return True

    def _with_rate(self, state: TrainState) -> TrainState:
        model, scale = state.model, self.progress.rate_scale
        optimiser = build_optimiser(self.config, self.num_steps, model=model, rate_scale=scale)
        return dataclasses.replace(state, optimiser=optimiser)

    def run(self) -> AbstractModel:
        """Trains to the end.

        **Returns:** the model to evaluate.

        **Raises:** `Interrupted` after a signal, [`noprop_ode.NonFiniteLossError`][] when rollbacks are used up; the
        last good state is then a checkpoint.
        """
        bar = tqdm(total=self.num_steps, initial=self.progress.step, unit="step", disable=None, file=sys.stderr)
        with SignalGuard() as guard, bar:
            while True:
                epochs, offset = divmod(self.progress.step, self.steps_per_epoch)
                if offset == 0 and epochs > self.progress.validated_epochs:
                    self._finish_epoch(epochs, bar)
                    if guard.received is not None:
                        raise Interrupted(guard.received)
                if self._done:
                    return self.state.evaluation_model
                if offset == 0:
                    self._save_for_rollback()
                try:
                    self._train_epoch(epochs, offset, guard, bar)
                except NonFiniteLossError as error:
                    self._roll_back(error, bar)

    @property
    def _done(self) -> bool:
        patience = self.config.training.patience
        tired = patience is not None and self.progress.stale >= patience
        return tired or self.progress.step >= self.num_steps

    def _train_epoch(self, epoch: int, offset: int, guard: SignalGuard, bar: Any) -> None:
        clock = time.perf_counter()
        warm = False
        for self.state, metrics in train(self.state, self._batches(epoch, offset), steps_per_call=self.steps_per_call):
            steps = self._record(metrics, epoch)
            now = time.perf_counter()
            if warm:  # the first call of a process includes compilation
                self.progress.seconds += now - clock
                self.progress.timed_steps += steps
            clock, warm = now, True
            bar.update(steps)
            if self.progress.timed_steps:
                loss, *terms = (
                    float(np.ravel(value)[-1])
                    for value in (metrics.loss, metrics.denoising, metrics.readout, metrics.prior)
                )
                parts = " + ".join(f"{term:.4f}" for term in terms)
                bar.set_postfix_str(f"loss {loss:.4f} = {parts}, {self.images_per_second:.0f} images/s", refresh=False)
            if guard.received is not None:
                self.save()
                raise Interrupted(guard.received)
            if time.monotonic() - self._saved_at > self.config.output.checkpoint_seconds:
                self.save()

    def _batches(self, epoch: int, offset: int) -> Iterator[tuple[Any, Any]]:
        training = self.config.training
        found = data.batches(self.train_set, training.batch_size, seed=training.seed, epoch=epoch)
        for i, (xs, ys) in itertools.islice(enumerate(found), offset, None):
            if self.augment is not None:
                step = epoch * self.steps_per_epoch + i
                xs = self.augment(jax.numpy.asarray(xs), jr.fold_in(self.augment_key, step))
            yield xs, ys

    def _record(self, metrics: Metrics, epoch: int) -> int:
        values = {f.name: np.ravel(getattr(metrics, f.name)).tolist() for f in dataclasses.fields(metrics)}
        for row in zip(*values.values()):
            self.log("train", {**dict(zip(values, row)), "epoch": epoch})
        self.progress.step = values["step"][-1]
        return len(values["step"])

    def _finish_epoch(self, epochs: int, bar: Any) -> None:
        training, progress = self.config.training, self.progress
        progress.validated_epochs = epochs
        if epochs % training.validate_every == 0 or epochs == training.epochs:
            found = evaluate(
                self.state.evaluation_model,
                self.validation.images,
                self.validation.labels,
                key=self.validation_key,
                prediction=self.prediction,
            )
            self.log(
                "validation", {"step": progress.step, "epoch": epochs, "accuracy": found.accuracy, "nll": found.nll}
            )
            bar.write(f"epoch {epochs}: validation accuracy {found.accuracy:.4f}, nll {found.nll:.4f}")
            better = found.accuracy > progress.best_accuracy
            progress.stale = 0 if better else progress.stale + 1
            if better:
                progress.best_accuracy, progress.best_epoch = found.accuracy, epochs
                save_arrays(
                    self.store.folder / "best.noprop",
                    self.state.evaluation_model,
                    {**self.metadata, "epoch": epochs, "validation_accuracy": found.accuracy},
                )
        self.save()

    def _save_for_rollback(self) -> None:
        if self.config.training.rollbacks > 0:
            progress = dataclasses.asdict(self.progress)
            save_arrays(self.store.folder / _ROLLBACK, self.state, {**self.metadata, "progress": progress})

    def log(self, kind: str, values: dict[str, Any]) -> None:
        """Writes a record, and counts it: what follows a checkpoint is written again after resuming from it."""
        self._write(kind, values)
        self.progress.records += 1

    def save(self) -> None:
        """Writes a checkpoint.

        **Raises:** `RunError` if that fails.
        """
        progress = dataclasses.asdict(self.progress)
        self.store.save(self.progress.step, self.state, {**self.metadata, "progress": progress})
        self._saved_at = time.monotonic()

    def _roll_back(self, error: NonFiniteLossError, bar: Any) -> None:
        allowed, used = self.config.training.rollbacks, self.progress.rollbacks
        good = dataclasses.replace(error.state, healthy=jax.numpy.ones_like(error.state.healthy))
        if used >= allowed:
            self.state, self.progress.step = good, int(good.step)
            self.store.discard_after(self.progress.step - 1)
            self.save()
            raise error
        # To the start of the epoch, not to the newest checkpoint: when that was written depends on the clock.
        path = self.store.folder / _ROLLBACK
        state, before = load_arrays(path, self.state), Progress(**read_header(path)["progress"])
        self.progress = dataclasses.replace(before, rollbacks=used + 1, records=self.progress.records)
        self.state = self._with_rate(state)
        self.log("rollback", {"step": self.progress.step, "failed_step": error.step, "rollbacks": used + 1})
        bar.write(
            f"the loss was not finite at step {error.step}; back to step {self.progress.step} at "
            f"{self.progress.rate_scale:g} of the learning rate"
        )
        bar.n = self.progress.step
        # Checkpoints of steps that are now to come would be taken for newer ones.
        self.store.discard_after(self.progress.step - 1)
        self.save()

    @property
    def images_per_second(self) -> float | None:
        """Images trained on a second, without compilation and evaluation; `None` before it is known."""
        if self.progress.timed_steps == 0:
            return None
        return self.progress.timed_steps * self.config.training.batch_size / max(self.progress.seconds, 1e-9)
