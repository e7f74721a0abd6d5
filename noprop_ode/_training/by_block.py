"""A step of all blocks as one call for each: T problems that share nothing but labels and readout."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PyTree

from .._block_model import AbstractBlockModel, batch_keys
from .._blocks import AllBlocks
from .._model import AbstractModel, LossTerms
from .._trainable import trainable_mask
from .._types import Key, Scalar
from .step import Metrics, TrainState, apply_gradients


class _Gathered(eqx.Module):
    """What the calls of a step have gathered: the next block `k`, the denoising term and the gradient so far."""

    k: Int[Array, ""]
    denoising: Float[Array, ""]
    grads: PyTree[Any]


def takes_all_blocks(model: AbstractModel) -> bool:
    """Whether a step of this model is one of all of its blocks, which can be taken one after another."""
    return isinstance(model, AbstractBlockModel) and isinstance(model.plan, AllBlocks)


def step_by_block(data: tuple[Array, Array], state: TrainState) -> tuple[TrainState, Metrics]:
    """The same step as [`noprop_ode.train_step`][], in T + 1 calls on the device.

    The T calls are of one compiled function, each for the gradient of one block: compilation does not grow with T,
    and what back-propagation has to keep is that of one block. The gradient is applied once all of it is known to be
    finite, so a bad step changes no block.

    **Arguments:**

    - `data`: a batch of images and labels.
    - `state`: the state, for a model that `takes_all_blocks`; it is consumed.

    **Returns:** the next state, and what was measured on the way.
    """
    assert isinstance(state.model, AbstractBlockModel)
    inputs = (*data, state.model, state.key, state.step)
    gathered = _nothing(state.model)
    for _ in range(state.model.field.num_blocks):
        gathered = _add_block(inputs, gathered)
    return _finish(data, state, gathered)


@eqx.filter_jit
def _nothing(model: AbstractModel) -> _Gathered:
    zeros = jax.tree.map(jnp.zeros_like, eqx.filter(model, trainable_mask(model)))
    return _Gathered(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32), zeros)


# What was gathered is donated: each call writes the gradient of its block into the same buffers.
@eqx.filter_jit(donate="all-except-first")
def _add_block(inputs: tuple[Array, Array, AbstractBlockModel, Key, Array], gathered: _Gathered) -> _Gathered:
    xs, ys, model, key, step = inputs
    k, keys = gathered.k, batch_keys(jr.fold_in(key, step))
    mask = trainable_mask(model)
    # The block leaves the model out here: within the derivative, the gradient would have the size of all blocks.
    own, own_fixed = eqx.partition(model.field.block(k), mask.field.stacked)
    shared, fixed = eqx.partition(model, eqx.tree_at(lambda m: m.field, mask, False))

    def loss(own: PyTree[Any], shared: PyTree[Any]) -> Scalar:
        block, whole = eqx.combine(own, own_fixed), eqx.combine(shared, fixed)
        return whole.block_loss(block, k, xs, ys, key=keys.blocks) / model.field.num_blocks

    value, (own_grads, shared_grads) = jax.value_and_grad(loss, argnums=(0, 1))(own, shared)
    stacked = jax.tree.map(
        lambda all, new: jax.lax.dynamic_update_index_in_dim(all, new, k, 0), gathered.grads.field.stacked, own_grads
    )
    grads = eqx.apply_updates(gathered.grads, shared_grads)
    grads = eqx.tree_at(lambda m: m.field.stacked, grads, stacked)
    return _Gathered(k + 1, gathered.denoising + value, grads)


@eqx.filter_jit(donate="all-except-first")
def _finish(data: tuple[Array, Array], state: TrainState, gathered: _Gathered) -> tuple[TrainState, Metrics]:
    keys = batch_keys(jr.fold_in(state.key, state.step))
    params, rest = eqx.partition(state.model, trainable_mask(state.model))

    def loss(params: PyTree[Any]) -> tuple[Scalar, tuple[Scalar, Scalar]]:
        readout, prior = eqx.combine(params, rest).shared_loss(*data, key=keys.shared)
        return readout + prior, (readout, prior)

    (_, terms), grads = jax.value_and_grad(loss, has_aux=True)(params)
    grads = eqx.apply_updates(gathered.grads, grads)
    return apply_gradients(state, LossTerms(gathered.denoising, *terms), grads)
