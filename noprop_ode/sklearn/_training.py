"""Training of a classifier: whole runs with `fit`, one more epoch with `train`."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .._choices import Prediction
from .._model import AbstractModel
from .._training.errors import Interrupted
from .._training.fit import fit
from .._training.generator import train
from .._training.run import EpochEnded, Event, Recorded, Run, Stepped
from .._training.step import TrainState
from .._types import Key
from ._build import Recipe, build_model, optimiser_of
from ._optimiser import with_rates
from ._rows import Draws, Part, Parts


AVERAGE_DECAY = 0.99


@contextlib.contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """If a call fails, the estimator keeps what it learned before, and from which kind of rows."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


class Kept(NamedTuple):
    """What training carries from one call to the next, only arrays: a [`noprop_ode.TrainState`][] without the
    optimiser and the key, which come from parameters and seed, and which cannot be pickled."""

    model: AbstractModel
    opt_state: Any
    step: Any
    average: AbstractModel

    @staticmethod
    def of(state: TrainState) -> "Kept":
        """From the state of a run with a moving average."""
        assert state.average is not None
        return Kept(state.model, state.opt_state, state.step, state.average)

    def state(self, recipe: Recipe, seed: int) -> TrainState:
        """The state that training continues from."""
        return TrainState(
            model=self.model,
            opt_state=with_rates(self.opt_state, recipe.learning_rate, recipe.weight_decay),
            optimiser=optimiser_of(recipe, self.model),
            key=jr.split(jr.key(seed))[1],
            step=self.step,
            healthy=jnp.ones((), bool),
            average=self.average,
            average_decay=AVERAGE_DECAY,
        )


def untrained(recipe: Recipe, image_shape: tuple[int, int, int], num_classes: int, seed: int) -> Kept:
    """The state before the first step.

    **Arguments:** what to build, for which images and how many classes, and the `seed` for everything.

    **Returns:** the state.
    """
    model_key, train_key = jr.split(jr.key(seed))
    # One program for every learning rate and weight decay, which do not affect a model.
    model = _built(recipe._replace(learning_rate=0.0, weight_decay=0.0), image_shape, num_classes, model_key)
    return Kept.of(TrainState.create(model, optimiser_of(recipe, model), key=train_key, average_decay=AVERAGE_DECAY))


# As one program: layer by layer, each would be compiled separately.
@eqx.filter_jit
def _built(recipe: Recipe, image_shape: tuple[int, int, int], num_classes: int, key: Key) -> AbstractModel:
    return build_model(recipe, image_shape, num_classes, key=key)


class Curves:
    """A callback that keeps the mean loss of each epoch, and the validation accuracies."""

    def __init__(self):
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self._steps: list[float] = []

    def __call__(self, run: Run, event: Event) -> None:
        match event:
            case Stepped(metrics, _):
                self._steps.extend(np.ravel(metrics.loss).tolist())
            case EpochEnded():
                self.losses.append(float(np.mean(self._steps)))
                self._steps = []
            case Recorded({"kind": "validation", "accuracy": accuracy}):
                self.accuracies.append(accuracy)
            case _:
                pass


class Trained(NamedTuple):
    """The result of a run: the `model` to predict with, what training `kept`, and the `curves`."""

    model: AbstractModel
    kept: Kept
    curves: Curves


def run(
    recipe: Recipe,
    draws: Draws,
    validation: Part | None,
    num_classes: int,
    *,
    epochs: int,
    patience: int | None,
    prediction: Prediction | None,
    progress: bool,
) -> Trained:
    """A whole run of [`noprop_ode.fit`][] from the start.

    **Arguments:**

    - `recipe`: what to train.
    - `draws`: the rows to train on.
    - `validation`: rows to choose the best epoch by; `None` for the last epoch.
    - `num_classes`: number of classes.
    - `epochs`, `patience`, `prediction`, `progress`: as for `fit`.

    **Returns:** the result.

    **Raises:** `KeyboardInterrupt` for an interrupted run, besides what `fit` raises; SIGTERM acts as outside a run.
    """
    curves = Curves()

    def draw_again(run: Run, event: Event) -> None:
        if isinstance(event, EpochEnded):
            run.train = draws.epoch(event.epoch)

    first = draws.epoch(0)
    start = untrained(recipe, first.images.shape[1:], num_classes, draws.seed)
    try:
        result = fit(
            start.model,
            Parts(first, validation),
            optimiser=optimiser_of(recipe, start.model),
            epochs=epochs,
            batch_size=draws.batch_size,
            seed=draws.seed,
            callbacks=[curves, draw_again],
            prediction=prediction,
            average_decay=AVERAGE_DECAY,
            patience=patience,
            progress=progress,
        )
    except Interrupted as interruption:
        # As elsewhere in Python: a search over parameters must not take either for a bad choice of parameters.
        if interruption.exit_code == 128 + signal.SIGTERM:
            signal.raise_signal(signal.SIGTERM)
        raise KeyboardInterrupt(interruption.signal) from interruption
    model = result.model if result.best_model is None else result.best_model
    return Trained(model, Kept.of(result.state), curves)


def one_epoch(recipe: Recipe, kept: Kept, draws: Draws, number: int) -> tuple[Kept, float]:
    """One epoch of [`noprop_ode.train`][], continuing from what was kept.

    **Arguments:** what is trained, where to continue from, the rows, and the `number` of the epoch, from 0.

    **Returns:** the new state, and the mean loss.
    """
    from ..data import batches

    state, losses, rows = kept.state(recipe, draws.seed), [], draws.whole_batches(number)
    for state, metrics in train(state, batches(rows, draws.batch_size, seed=draws.seed, epoch=number)):
        losses.append(float(metrics.loss))
    return Kept.of(state), float(np.mean(losses))
