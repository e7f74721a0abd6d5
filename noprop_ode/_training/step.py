"""One step of training, and what it carries to the next."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._model import AbstractModel, LossTerms
from .._numbers import plain_numbers
from .._trainable import trainable_mask
from .._types import Images, Key, Labels
from .blockwise import kept_apart


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
        - `optimiser`: an optax transformation of gradients and weights. Those that also need the loss are not
            supported; for those with other weights to evaluate than to train, such as `optax.contrib.schedule_free`,
            `evaluation_model` is the one that is trained. It sees only the arrays that may change
            ([`noprop_ode.trainable_mask`][]), so weight decay leaves a frozen module alone. Blocks that the model
            trains independently are optimised separately, as with [`noprop_ode.blockwise`][].
        - `key`: the randomness of training.
        - `average_decay`: if given, keep a moving average of the weights with this decay per step, but at most
            (1 + n) / (10 + n) after n steps, so that the initial weights are soon forgotten.

        **Returns:** the state.

        **Raises:** `ValueError` unless the decay lies in [0, 1).
        """
        if average_decay is not None and not 0 <= average_decay < 1:
            raise ValueError(f"average_decay must lie in [0, 1); got {average_decay}.")
        # As a step returns them: NumPy arrays in double precision would differ from those of a checkpoint.
        model = jax.tree.map(
            lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, plain_numbers(model)
        )
        trainable = eqx.filter(model, trainable_mask(model))
        optimiser = kept_apart(model, optimiser)
        return TrainState(
            model=model,
            opt_state=optimiser.init(trainable),  # not compiled: equal optimisers may start differently
            optimiser=optimiser,
            key=key,
            step=jnp.zeros((), jnp.int32),
            healthy=jnp.ones((), bool),
            average=None if average_decay is None else _in_full(model),
            average_decay=0.0 if average_decay is None else average_decay,
        )

    @property
    def evaluation_model(self) -> AbstractModel:
        """The model to evaluate: the moving average if there is one, else the model."""
        if self.average is None:
            return self.model
        # The average of bfloat16 weights is in float32, where small changes are not rounded away.
        return jax.tree.map(lambda a, p: a.astype(p.dtype) if eqx.is_inexact_array(a) else a, self.average, self.model)


def _in_full(model: AbstractModel) -> AbstractModel:
    """Trainable arrays of less than single precision in single precision."""

    def raised(trained: bool, leaf: Any) -> Any:
        return leaf.astype(jnp.float32) if trained and leaf.dtype.itemsize < 4 else leaf

    return jax.tree.map(raised, trainable_mask(model), model)


class Metrics(eqx.Module):
    """The metrics of one step: its number `step`, the `loss` and its terms, and the `gradient_norm`. Scalars on the
    device, so that the caller decides when to read them; for several steps in one call, shape `[steps]`."""

    step: Int[Array, "*steps"]
    loss: Float[Array, "*steps"]
    denoising: Float[Array, "*steps"]
    readout: Float[Array, "*steps"]
    prior: Float[Array, "*steps"]
    gradient_norm: Float[Array, "*steps"]


def rows(metrics: Metrics) -> list[dict[str, float]]:
    """The metrics of each step of a call, as plain numbers."""
    metrics = jax.device_get(metrics)  # all of them in one go
    values = {f.name: np.ravel(getattr(metrics, f.name)).tolist() for f in dataclasses.fields(metrics)}
    return [dict(zip(values, row)) for row in zip(*values.values())]


def finite(model: PyTree[Any]) -> bool:
    """Whether all trainable arrays are finite, as far as this process holds them. A step only checks its gradient: an
    update can be infinite where the gradient is not, with an infinite learning rate. On CPU this uses NumPy, for which
    nothing is compiled; elsewhere the device looks, and only the answers travel."""
    arrays = jax.tree.leaves(eqx.filter(model, trainable_mask(model)))
    parts = [part.data for a in arrays for part in _parts(a)]
    if jax.default_backend() == "cpu":
        return all(np.isfinite(np.asarray(part)).all() for part in parts)
    return all(jax.device_get([_all_finite(part) for part in parts]))


@jax.jit
def _all_finite(array: Array) -> Array:
    return jnp.isfinite(array).all()


def _parts(array: Any) -> Sequence[Any]:
    """The parts of an array that this process holds, each once."""
    return list({str(part.index): part for part in jnp.asarray(array).addressable_shards}.values())


def train_step(state: TrainState, xs: Images, ys: Labels) -> tuple[TrainState, Metrics]:
    """One training step: loss, gradient, update. A pure function, which [`noprop_ode.train`][] compiles.

    **Arguments:**

    - `state`: the state.
    - `xs`: images, `[batch, height, width, channels]`.
    - `ys`: labels, `[batch]`.

    **Returns:** the next state, and the metrics of the step.
    """
    key = jr.fold_in(state.key, state.step)
    params, rest = eqx.partition(state.model, trainable_mask(state.model))

    def loss(params: PyTree[Any]):
        terms = eqx.combine(params, rest).batch_loss(xs, ys, key=key)
        return terms.total, terms

    (_, terms), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return apply_gradients(state, terms, grads)


def apply_gradients(state: TrainState, terms: LossTerms, grads: PyTree[Any]) -> tuple[TrainState, Metrics]:
    """The second half of a step: what a gradient does to the state.

    **Arguments:**

    - `state`: the state.
    - `terms`: the terms of the loss.
    - `grads`: its gradient with respect to the trainable arrays of the model.

    **Returns:** the next state, and the metrics of the step.
    """
    norm = optax.tree.norm(grads)
    healthy = state.healthy & jnp.isfinite(terms.total) & jnp.isfinite(norm)
    return updated(state, grads, healthy), metrics_of(state, terms, norm)


def metrics_of(state: TrainState, terms: LossTerms, norm: Array) -> Metrics:
    """The metrics of the step that follows a state: the terms of its loss, and the norm of its gradient."""
    return Metrics(state.step + 1, terms.total, terms.denoising, terms.readout, terms.prior, norm)


def updated(state: TrainState, grads: PyTree[Any], healthy: Bool[Array, ""]) -> TrainState:
    """The state after a step, once it is known whether the step is good.

    **Arguments:**

    - `state`: the state.
    - `grads`: the gradient with respect to the trainable arrays of the model.
    - `healthy`: whether anything may change.

    **Returns:** the next state.
    """
    params, rest = eqx.partition(state.model, trainable_mask(state.model))
    updates, opt_state = state.optimiser.update(grads, state.opt_state, params)
    new_params = optax.apply_updates(params, updates)  # which keeps the dtype of a weight, whatever that of its update

    def keep_if_ill(new: PyTree[Any], old: PyTree[Any]) -> PyTree[Any]:
        return jax.tree.map(lambda n, o: jnp.where(healthy, n, o) if eqx.is_array(n) else n, new, old)

    new_params = keep_if_ill(new_params, params)
    average = state.average
    if average is not None:
        # Bias-corrected by a ramp: after n steps the average spans about the last n/10 of them at most.
        decay = jnp.minimum(state.average_decay, (1 + state.step) / (10 + state.step))
        old, fixed = eqx.partition(average, trainable_mask(average))
        mean = jax.tree.map(lambda a, p: (decay * a + (1 - decay) * p.astype(a.dtype)).astype(a.dtype), old, new_params)
        average = eqx.combine(keep_if_ill(mean, old), fixed)
    return TrainState(
        model=eqx.combine(new_params, rest),
        opt_state=keep_if_ill(opt_state, state.opt_state),
        optimiser=state.optimiser,
        key=state.key,
        step=state.step + healthy.astype(jnp.int32),
        healthy=healthy,
        average=average,
        average_decay=state.average_decay,
    )
