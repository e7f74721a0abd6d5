"""Callbacks of a run: validation and progress. A callback of your own is a function of the run and an event."""

import contextlib
import importlib.util
import shutil
import sys
import time
from typing import Any

import jax

from .._choices import Prediction
from .._model import AbstractModel
from .._prediction.evaluate import evaluate
from .._types import Key
from .checkpoint import load_arrays
from .copies import copied
from .errors import CheckpointError
from .files import say
from .processes import arrays_of_first, gathered, on_first, tell
from .run import EpochEnded, Event, Recorded, Run, Started, Stepped, Stopped
from .step import rows
from .store import BEST


class Validate:
    """Evaluates on the validation part after epochs, records the result, keeps the best model, and stops a run that no
    longer improves."""

    def __init__(self, *, prediction: Prediction | None, every: int, patience: int | None, key: Key):
        """**Arguments:**

        - `prediction`: how to predict; the model's own way if `None`.
        - `every`: epochs between validations; the last epoch is always validated.
        - `patience`: stop after this many validations without a better accuracy.
        - `key`: randomness for the predictions.
        """
        self.prediction, self.every, self.patience, self.key = prediction, every, patience, key
        self._best: AbstractModel | None = None
        self._validated = 0

    def __call__(self, run: Run, event: Event) -> None:
        if isinstance(event, EpochEnded) and (event.epoch % self.every == 0 or event.epoch == run.epochs):
            self.validate(run, event.epoch)

    def at_the_end(self, run: Run) -> None:
        """Validates the last epoch of a run that a callback ended, if that has not been done."""
        if run.progress.epoch not in (0, self._validated):
            self.validate(run, run.progress.epoch)

    def validate(self, run: Run, epoch: int) -> None:
        """Evaluates, records the result, and keeps the model if it is the best."""
        progress, model, held_out = run.progress, run.evaluation_model, run.validation
        self._validated = epoch
        # Without gradients an image takes a fraction of the memory that it takes in training.
        size = min(500, 4 * run.batch_size)
        how = {"key": self.key, "prediction": self.prediction, "batch_size": size}
        found = evaluate(model, held_out.images, held_out.labels, **how)
        run.record("validation", step=progress.step, epoch=epoch, accuracy=found.accuracy, nll=found.nll)
        better = found.accuracy > progress.best_accuracy
        progress.stale = 0 if better else progress.stale + 1
        if better:
            progress.best_accuracy, progress.best_epoch = found.accuracy, epoch
            self._keep(run, model, {"epoch": epoch, "validation_accuracy": found.accuracy})
        if self.patience is not None and progress.stale >= self.patience:
            run.stop()

    def _keep(self, run: Run, model: AbstractModel, metadata: dict[str, Any]) -> None:
        if run.store is None or jax.process_count() > 1:
            self._best = copied(model)
        run.keep(lambda store, whole: store.save(BEST, whole, {**run.metadata, **metadata}), model)

    def best(self, run: Run) -> AbstractModel | None:
        """The model with the best validation accuracy; `None` before the first validation."""
        if self._best is not None or run.progress.best_epoch == 0 or not tell(run.store is not None):
            return self._best
        like = gathered(run.evaluation_model)
        found = on_first(lambda: _read_best(run, like))
        return arrays_of_first(like if found is None else found) if tell(found is not None) else None


def _read_best(run: Run, like: AbstractModel) -> AbstractModel | None:
    """The best model, if its file is there: the run does not need it to continue, and it may have been removed."""
    assert run.store is not None
    try:
        return load_arrays(run.store.path(BEST), like)
    except (FileNotFoundError, CheckpointError) as error:
        say(f"warning: the best model, of epoch {run.progress.best_epoch}, is lost. {error}")
        return None


class ProgressBar:
    """Shows the progress of a run on standard error: a bar on a terminal, elsewhere one line per minute."""

    def __init__(self, *, every: float = 60.0):
        """**Arguments:** `every`, seconds between lines where there is no terminal."""
        self.every = every
        self._bar: Any = None
        self._told = 0.0
        self._began: float | None = None
        self._first = 0

    def __call__(self, run: Run, event: Event) -> None:
        with contextlib.suppress(OSError):  # a log that is full, or a terminal that is gone, must not end the run
            self._tell(run, event)

    def _tell(self, run: Run, event: Event) -> None:
        match event:
            case Started():
                self._start(run)
            case Stepped(metrics, epoch):
                self._show(run, rows(metrics)[-1], epoch)
            case Recorded({"kind": "validation", **values}):
                self._say(
                    f"epoch {values['epoch']}: validation accuracy {values['accuracy']:.4f}, nll {values['nll']:.4f}"
                )
            case Recorded({"kind": "rollback", **values}):
                self._say(
                    f"the loss was not finite at step {values['failed_step']}; back to step {values['step']} at "
                    f"{run.progress.rate_scale:g} of the learning rate"
                )
            case Stopped() if self._bar is not None:
                self._bar.close()
            case _:
                pass

    def _start(self, run: Run) -> None:
        self._first, self._began, self._told = run.progress.step, None, 0.0
        if sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None:
            self._bar = importlib.import_module("tqdm").tqdm(
                total=run.num_steps,
                initial=self._first,
                file=sys.stderr,
                dynamic_ncols=True,
                desc="compiling",
                bar_format="{desc} {percentage:3.0f}% "
                + ("" if _narrow() else "step {n_fmt}/{total_fmt} ")
                + "{remaining}{postfix}",
            )
        elif run.finished and run.progress.epoch < run.epochs:
            self._say(
                f"this run was stopped after epoch {run.progress.epoch}, by its patience or by a callback, and is over"
            )
        elif not run.finished:
            self._say(f"{run.num_steps} steps in {run.epochs} epochs from step {self._first}; compiling")

    def _show(self, run: Run, row: dict[str, float], epoch: int) -> None:
        short = self._bar is not None and _narrow()
        loss, *terms = ((name, f"{row[name]:.2f}".replace("-0.00", "0.00")) for name in _TERMS)
        shown = f"loss {loss[1]}: {' '.join(f'{name[0] if short else name} {value}' for name, value in terms)}"
        if self._bar is not None:
            self._bar.n = run.progress.step
            self._bar.set_description_str(f"epoch {epoch}/{run.epochs}", refresh=False)
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(0)
            return
        now = time.monotonic()
        if self._began is None:  # compilation is over: time and steps count from here
            self._began = self._told = now
            self._first = run.progress.step
            return
        early = self._told == self._began and now - self._began > 5  # an early estimate of the total time
        if early or now - self._told > self.every:
            self._told = now
            done = run.progress.step - self._first
            left = (now - self._began) / max(done, 1) * (run.num_steps - run.progress.step)
            self._say(
                f"epoch {epoch}/{run.epochs}, step {run.progress.step} of {run.num_steps}: {shown}, "
                f"about {_duration(left)} left"
            )

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)


_TERMS = ("loss", "denoising", "readout", "prior")


def _narrow() -> bool:
    """Whether a terminal only has room for initials; 60 columns are enough for these."""
    return shutil.get_terminal_size().columns < 100


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
