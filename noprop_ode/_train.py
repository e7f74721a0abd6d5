import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from ._check import check_images, check_labels
from ._model import AbstractModel
from ._trainable import trainable_mask
from ._types import Images, Key, Labels


class TrainState(eqx.Module):
    """Everything that training carries from one step to the next; made by `create`.

    - `model`, `opt_state`, `optimiser`: what is trained and how.
    - `key`, `step`: the randomness of training, and the number of steps taken.
    - `healthy`: false once a loss or a gradient was not finite; from then on no step changes anything.
    - `average`, `average_decay`: exponential moving average of the weights, if asked for.
    """

    model: AbstractModel
    opt_state: PyTree[Any]
    optimiser: optax.GradientTransformation = eqx.field(static=True)
    key: Key
    step: Int[Array, ""]
    healthy: Bool[Array, ""]
    average: AbstractModel | None
    average_decay: float = eqx.field(static=True)

    @staticmethod
    def create(
        model: AbstractModel,
        optimiser: optax.GradientTransformation,
        *,
        key: Key,
        average_decay: float | None = None,
    ) -> "TrainState":
        """The state before the first step.

        **Arguments:**

        - `model`: the initial model.
        - `optimiser`: any optax transformation. It sees only the arrays that may change
            ([`noprop_ode.trainable_mask`][]), so weight decay leaves a frozen module alone.
        - `key`: the randomness of training.
        - `average_decay`: if given, keep a moving average of the weights with this decay for each step.

        **Returns:** the state.

        **Raises:** `ValueError` unless the decay lies in [0, 1).
        """
        if average_decay is not None and not 0 <= average_decay < 1:
            raise ValueError(f"average_decay must lie in [0, 1); got {average_decay}.")
        trainable = eqx.filter(model, trainable_mask(model))
        return TrainState(
            model=model,
            opt_state=optimiser.init(trainable),
            optimiser=optimiser,
            key=key,
            step=jnp.zeros((), jnp.int32),
            healthy=jnp.ones((), bool),
            average=None if average_decay is None else model,
            average_decay=0.0 if average_decay is None else average_decay,
        )

    @property
    def evaluation_model(self) -> AbstractModel:
        """The model to evaluate: the moving average if there is one, else the model."""
        return self.model if self.average is None else self.average


class Metrics(eqx.Module):
    """What one step measured: its number `step`, the `loss` and its terms, and the `gradient_norm`. Scalars on the
    device, so that reading them is the caller's choice; of several steps in one call, shape `[steps]`."""

    step: Int[Array, "*steps"]
    loss: Float[Array, "*steps"]
    denoising: Float[Array, "*steps"]
    readout: Float[Array, "*steps"]
    prior: Float[Array, "*steps"]
    gradient_norm: Float[Array, "*steps"]


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient became NaN or infinite: at which `step`, with which `metrics`, and the `state` with the
    last good weights."""

    def __init__(self, step: int, metrics: Metrics, state: TrainState):
        terms = ", ".join(f"{name}={jnp.ravel(getattr(metrics, name))[-1]:g}" for name in _TERMS)
        super().__init__(
            f"The loss or its gradient stopped being finite at step {step} ({terms}). The weights before that step "
            "are kept in `.state`. A lower learning rate, gradient clipping, or a weighting with a smaller range "
            "usually helps."
        )
        self.step = step
        self.metrics = metrics
        self.state = state


_TERMS = ("loss", "denoising", "readout", "prior", "gradient_norm")


def train_step(state: TrainState, xs: Images, ys: Labels) -> tuple[TrainState, Metrics]:
    """One step of training: loss, gradient, update. Pure; [`noprop_ode.train`][] compiles it.

    **Arguments:**

    - `state`: the state.
    - `xs`: images, `[batch, height, width, channels]`.
    - `ys`: labels, `[batch]`.

    **Returns:** the next state, and what was measured on the way.
    """
    key = jr.fold_in(state.key, state.step)
    params, rest = eqx.partition(state.model, trainable_mask(state.model))

    def loss(params: PyTree[Any]):
        terms = eqx.combine(params, rest).batch_loss(xs, ys, key=key)
        return terms.total, terms

    (total, terms), grads = jax.value_and_grad(loss, has_aux=True)(params)
    norm = optax.tree.norm(grads)
    healthy = state.healthy & jnp.isfinite(total) & jnp.isfinite(norm)
    updates, opt_state = state.optimiser.update(grads, state.opt_state, params)
    new_params = eqx.apply_updates(params, updates)

    def keep_if_ill(new: PyTree[Any], old: PyTree[Any]) -> PyTree[Any]:
        return jax.tree.map(lambda n, o: jnp.where(healthy, n, o) if eqx.is_array(n) else n, new, old)

    new_params = keep_if_ill(new_params, params)
    average = state.average
    if average is not None:
        # Bias-corrected by a ramp: after n steps the average spans about the last n/10 of them at most.
        decay = jnp.minimum(state.average_decay, (1 + state.step) / (10 + state.step))
        old, fixed = eqx.partition(average, trainable_mask(average))
        mean = jax.tree.map(lambda a, p: (decay * a + (1 - decay) * p).astype(a.dtype), old, new_params)
        average = eqx.combine(keep_if_ill(mean, old), fixed)
    next_state = TrainState(
        model=eqx.combine(new_params, rest),
        opt_state=keep_if_ill(opt_state, state.opt_state),
        optimiser=state.optimiser,
        key=state.key,
        step=state.step + healthy.astype(jnp.int32),
        healthy=healthy,
        average=average,
        average_decay=state.average_decay,
    )
    metrics = Metrics(state.step + 1, total, terms.denoising, terms.readout, terms.prior, norm)
    return next_state, metrics


# The old state is donated: its buffers become those of the new one.
@eqx.filter_jit(donate="all-except-first")
def _jitted_step(data: tuple[Array, Array], state: TrainState) -> tuple[TrainState, Metrics]:
    return train_step(state, *data)


@eqx.filter_jit(donate="all-except-first")
def _jitted_steps(data: tuple[Array, Array], state: TrainState) -> tuple[TrainState, Metrics]:
    arrays, static = eqx.partition(state, eqx.is_array)

    def step(arrays: PyTree[Any], batch: tuple[Array, Array]) -> tuple[PyTree[Any], Metrics]:
        state, metrics = train_step(eqx.combine(arrays, static), *batch)
        return eqx.filter(state, eqx.is_array), metrics

    arrays, metrics = jax.lax.scan(step, arrays, data)
    return eqx.combine(arrays, static), metrics


def train(
    state: TrainState, batches: Iterable[tuple[Any, Any]], *, check_every: int = 1, steps_per_call: int = 1
) -> Iterator[tuple[TrainState, Metrics]]:
    """Trains on each batch in turn; logging, evaluation and saving stay with the caller.

    !!! example

        ```python
        for state, metrics in noprop_ode.train(state, batches):
            print(int(metrics.step), float(metrics.loss))
        ```

    The step is compiled once for each shape of batch. A yielded state is consumed by the next step: keep
    a copy of what should outlive it. The state passed in is copied, and stays valid.

    **Arguments:**

    - `state`: where to start, from [`noprop_ode.TrainState.create`][] or a state yielded earlier.
    - `batches`: pairs of images `[batch, height, width, channels]` and labels `[batch]`, NumPy or JAX.
    - `check_every`: look at the health of training after every so many steps (and after the last). Looking waits for
        the device. A bad step changes no weights in any case, nor does any step after it; above 1, the metrics of
        the error are those of the last batch looked at.
    - `steps_per_call`: take so many steps in one call on the device, which saves the launch of each on GPU and TPU. The
        metrics are then those of all of them, shape `[steps]`; batches left over at the end go one by one, and
        `check_every` counts calls.

    **Yields:** the state after each step, with what the step measured.

    **Raises:** `ValueError` or `TypeError` for images or labels that are none, and
    [`noprop_ode.NonFiniteLossError`][], with the last good state, when the loss or its gradient is not finite.
    """
    if check_every < 1 or steps_per_call < 1:
        raise ValueError(f"check_every and steps_per_call must be at least 1; got {check_every} and {steps_per_call}.")
    # A moving average may start as the very same buffers as the model; donation needs them apart.
    state = jax.tree.map(lambda a: jnp.array(a, copy=True) if eqx.is_array(a) else a, state)
    num_classes = state.model.embedding.num_classes
    metrics = None
    for count, group in enumerate(_grouped(batches, steps_per_call), start=1):
        for xs, ys in group:
            check_images(xs)
            check_labels(ys, num_classes, len(xs))
        if len(group) == 1:
            xs, ys = group[0]
            state, metrics = _jitted_step((jnp.asarray(xs), jnp.asarray(ys)), state)
        else:
            xs, ys = (jnp.stack([jnp.asarray(a) for a in arrays]) for arrays in zip(*group))
            state, metrics = _jitted_steps((xs, ys), state)
        if count % check_every == 0:
            _raise_if_ill(state, metrics)
        yield state, metrics
    if metrics is not None:
        _raise_if_ill(state, metrics)


def _grouped(batches: Iterable[tuple[Any, Any]], size: int) -> Iterator[list[tuple[Any, Any]]]:
    iterator = iter(batches)
    while group := list(itertools.islice(iterator, size)):
        if len(group) == size:
            yield group
        else:
            yield from ([batch] for batch in group)


def _raise_if_ill(state: TrainState, metrics: Metrics) -> None:
    if not bool(state.healthy):
        raise NonFiniteLossError(int(state.step) + 1, metrics, state)
