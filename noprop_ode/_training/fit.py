"""`fit`: a whole run over objects, with validation, checkpoints, resume and logs."""

import contextlib
import functools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import jax.random as jr
import optax
from jaxtyping import Array

from .._choices import Prediction
from .._model import AbstractModel
from .arguments import check_arguments, check_layout
from .batches import Batches
from .blockwise import kept_apart
from .callbacks import ProgressBar, Validate
from .checkpoint import save_arrays
from .clock import Clock
from .errors import FolderLostError, RunError
from .folder import RunFolder
from .generator import NonFiniteLossError, default_steps_per_call, steps
from .optimiser import on_host, scaled
from .parallel import Parallel
from .processes import agreed, is_first, on_first, others_there, tell
from .resume import begin, forget_failed_start
from .rollback import RollBack
from .run import Callback, EpochEnded, Progress, Run, Started, Stepped, Stopped
from .signals import SignalGuard, interruption
from .sinks import JsonLines
from .step import TrainState
from .store import CheckpointStore


_Model = TypeVar("_Model", bound=AbstractModel)


@dataclass(frozen=True)
class FitResult(Generic[_Model]):
    """The result of [`noprop_ode.fit`][].

    - `model`: the model after the last step; the moving average of its weights, if one was requested.
    - `best_model`: the one with the best validation accuracy; `None` without a validation part.
    - `state`: the last [`noprop_ode.TrainState`][].
    - `progress`: steps, best accuracy and the rest of [`noprop_ode.Progress`][].
    - `images_per_second`: training speed, excluding compilation and evaluation; `None` if no step was timed.
    """

    model: _Model
    best_model: _Model | None
    state: TrainState
    progress: Progress
    images_per_second: float | None


def fit(
    model: _Model,
    splits: Any,
    *,
    optimiser: optax.GradientTransformation,
    epochs: int,
    batch_size: int = 128,
    seed: int = 0,
    folder: str | os.PathLike[str] | RunFolder | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    prediction: Prediction | None = None,
    augment: Callable[..., Array] | None = None,
    average_decay: float | None = None,
    validate_every: int = 1,
    patience: int | None = None,
    rollbacks: int = 0,
    steps_per_call: int | None = None,
    checkpoint_seconds: float = 60.0,
    keep: int = 2,
    learning_rate: optax.Schedule | None = None,
    metadata: dict[str, Any] | None = None,
    parallel: Parallel | None = None,
    progress: bool = True,
) -> FitResult[_Model]:
    """Trains a model for a number of epochs.

    What follows a checkpoint depends only on the checkpoint, the arguments and the data: a run that is stopped or
    killed, and called again with `resume=True`, arrives at bit-identical weights on the same machine and the same
    number of cores. [`noprop_ode.train`][] is the bare loop underneath.

    !!! example

        ```python
        splits = noprop_ode.data.from_arrays(images, labels)
        result = noprop_ode.fit(model, splits, optimiser=optax.adamw(1e-3), epochs=10, folder="runs/mine", resume=True)
        ```

    **Arguments:**

    - `model`: the initial model; one that is already trained is trained further.
    - `splits`: the data: its `train` and, unless that is `None`, `validation` each have `images` `[n, ...]` and
        `labels` `[n]`, as [`noprop_ode.data.Splits`][] does.
    - `optimiser`: an optax transformation of gradients and weights; those that also need the loss, such as
        `optax.contrib.reduce_on_plateau`, are not supported. Blocks that the model trains independently are optimised
        separately, as with [`noprop_ode.blockwise`][], including clipping and trust ratios.
    - `epochs`: number of passes over the training part.
    - `batch_size`: images per step; an incomplete batch is left out, with other images each epoch.
    - `seed`: seed of the image order and all randomness of training, at least 0 and below 2^32.
    - `folder`: where to keep checkpoints and metrics; without one, nothing is written.
    - `resume`: continue from the newest checkpoint in the folder, if there is one. If false, a folder that holds any is
        refused. Data, `batch_size`, `seed`, `average_decay`, `validate_every`, `patience`, `rollbacks` and the arrays
        of the model are compared with those of the run. The model's other settings, `optimiser`, `augment` and
        `prediction` must be the same too, but are not checked.
    - `callbacks`: functions of the [`noprop_ode.Run`][] and an event, called in this order after the validation.
    - `prediction`: how to predict for validation; the model's own way by default.
    - `augment`: changes the images of a batch, as `augment(xs, key=key)`; ahead of callbacks, not dependent on them.
    - `average_decay`: keep a moving average of the weights with this decay per step, and evaluate that; as in
        [`noprop_ode.TrainState`][].
    - `validate_every`: epochs between validations.
    - `patience`: stop after this many validations without a better accuracy. A run that was stopped, this way or by
        `Run.stop`, is over: called again, it trains no further.
    - `rollbacks`: how often to go back to the start of the epoch, with half the learning rate, on a non-finite loss.
    - `steps_per_call`: steps per call on the device; by default 1 on CPU and for blocks trained one by one, else 16.
    - `checkpoint_seconds`: time between checkpoints, besides the one after every epoch.
    - `keep`: how many checkpoints to keep, besides the best.
    - `learning_rate`: the schedule that the optimiser was made with, used only for logging.
    - `metadata`: plain values to save with every checkpoint.
    - `parallel`: devices to divide batches and blocks among; a run may continue on other devices. Several processes
        ([`noprop_ode.start_processes`][]) all make the same call; only the first writes, prints and logs, and a signal
        to any of them stops all.
    - `progress`: whether to show progress on standard error.

    **Returns:** the trained model, its state and its progress.

    **Raises:** `ValueError` or `TypeError` for arguments that do not go together, [`noprop_ode.RunError`][] for a
    folder that cannot be used, [`noprop_ode.Interrupted`][] after a signal, with the last state and, if there is a
    folder, once everything is saved, and [`noprop_ode.NonFiniteLossError`][] if training diverges; the last good state
    is then the newest checkpoint.
    """
    check_layout(parallel, model, batch_size)
    per_call = default_steps_per_call(model) if steps_per_call is None else steps_per_call
    check_arguments(splits, model, epochs, batch_size, seed, validate_every, patience, rollbacks, keep, per_call)
    train_key, augment_key, validation_key = jr.split(jr.fold_in(jr.key(seed), 1), 3)
    optimiser = kept_apart(model, optimiser)
    settings = {
        "batch_size": batch_size,
        "seed": seed,
        "average_decay": average_decay,
        "validate_every": validate_every,
        "patience": patience,
        "rollbacks": rollbacks,
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(others_there())
        kept = tell(folder is not None)
        own = on_first(lambda: _opened(folder, stack))
        in_parts = kept and parallel is not None and parallel.sharded_checkpoints
        run = Run(
            state=TrainState.create(model, optimiser, key=train_key, average_decay=average_decay),
            progress=Progress(),
            train=splits.train,
            validation=splits.validation,
            epochs=epochs,
            batch_size=batch_size,
            folder=own,
            # Orbax removes a checkpoint before it rewrites it: another one must then be there.
            store=None if own is None else CheckpointStore(own, keep=max(keep, 2) if in_parts else keep),
            metadata=metadata or {},
            in_parts=in_parts,
        )
        place = parallel.place if in_parts and parallel is not None else _as_it_is
        if begin(run, settings, place, kept=kept, resume=resume, steps_per_call=per_call):
            stack.push(functools.partial(forget_failed_start, run))
        run.state = place(run.state)  # a state read from a file lies in one place
        validate = Validate(prediction=prediction, every=validate_every, patience=patience, key=validation_key)
        run.callbacks = (
            *([JsonLines()] if own is not None else []),
            *([ProgressBar()] if progress and is_first() else []),
            *([validate] if splits.validation is not None else []),
            *callbacks,
        )
        batches = Batches(seed, augment, augment_key, parallel, steps=run.steps_per_epoch)
        stack.callback(batches.close)
        roll_back = RollBack(rollbacks, place)
        rate = None if learning_rate is None else on_host(learning_rate)
        guard = stack.enter_context(SignalGuard())
        run.state = scaled(run.state, optimiser, run.progress.rate_scale)
        stack.callback(run.emit, Stopped())
        try:
            run.emit(Started())
            # Orbax would first remove the only checkpoint that is there.
            if any(agreed(bool(run.progress.notes))) and not (in_parts and run.progress.step == 0):
                run.save()  # what callbacks need again if the run is killed before its first checkpoint
            while not run.finished:
                roll_back.remember(run)
                try:
                    clock, epoch = Clock(run), batches.rest_of_epoch(run)
                    taken = steps(run.own(parallel), epoch, steps_per_call=per_call, parallel=parallel)
                    for run.state, metrics in taken:
                        run.record_steps(metrics, rate)
                        clock.tick()
                        run.emit(Stepped(metrics, run.progress.epoch + 1))
                        clock.restart()
                        signal, due = agreed(guard.received, time.monotonic() - run.saved > checkpoint_seconds)
                        if signal or due:
                            run.save()
                            clock.restart()
                        if signal:
                            raise interruption(signal, run.state, run.folder)
                except NonFiniteLossError as error:
                    run.state = error.state
                    run.record_steps(error.metrics, rate, until=int(error.state.step))  # the good steps of the call
                    run.state = scaled(roll_back(run, error), optimiser, run.progress.rate_scale)
                    continue
                run.progress.epoch += 1
                run.emit(EpochEnded(run.progress.epoch))
                run.progress.stopped = any(agreed(run.progress.stopped))
                if run.progress.stopped and splits.validation is not None:
                    validate.at_the_end(run)
                run.save()
                if signal := agreed(guard.received)[0]:
                    raise interruption(signal, run.state, run.folder)
        except RunError as error:
            if run.folder is None or run.folder.is_there:
                raise
            # Whatever failed did so because the folder is gone.
            raise FolderLostError(f"{run.folder.lost} {_rescue(run)}") from error
        found = FitResult(run.evaluation_model, validate.best(run), run.state, run.progress, run.images_per_second)
        return cast(FitResult[_Model], found)  # a run trains the kind of model that it was given


def _as_it_is(state: TrainState) -> TrainState:
    return state


def _opened(folder: str | os.PathLike[str] | RunFolder | None, stack: contextlib.ExitStack) -> RunFolder | None:
    """The folder of the run, locked until the stack unwinds, unless the caller holds it already."""
    return folder if folder is None or isinstance(folder, RunFolder) else stack.enter_context(RunFolder(folder))


def _rescue(run: Run) -> str:
    """Saves the weights of a run that lost its folder in another place, and says where."""
    run.progress.step = int(run.state.step)  # the folder may have gone before the last step was recorded
    try:
        path = Path(tempfile.mkdtemp(prefix="noprop_ode-")) / f"step-{run.progress.step:08d}.safetensors"
        save_arrays(path, run.state, run.header())
    except (RuntimeError, OSError) as error:  # also JAX's, for arrays that lie on several processes
        return f"Its weights could not be kept elsewhere either: {error}"
    return f"The run has stopped; its state after step {run.progress.step} is kept in {path}."
