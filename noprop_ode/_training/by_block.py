"""A step of all blocks as one call per block: T problems that share nothing but labels and readout."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from .._block_model import AbstractBlockModel, batch_keys
from .._model import AbstractModel, LossTerms
from .._trainable import trainable_mask
from .._types import Key, Scalar
from .compiled import donating
from .in_groups import apply_in_groups, group_size, of_blocks
from .parallel import Parallel, block_specs
from .step import Metrics, TrainState, apply_gradients


class _Gathered(eqx.Module):
    """What the calls of a step have gathered so far.

    - `i`: which of its blocks a device takes next.
    - `denoising`, `blocks`: the denoising term and the gradient of each block, on a leading axis T.
    - `shared`: the gradient of what blocks share; one sum per device of the block axis.
    """

    i: Int[Array, ""]
    denoising: Float[Array, " blocks"]
    blocks: PyTree[Any]
    shared: PyTree[Any]


def takes_all_blocks(model: AbstractModel) -> bool:
    """Whether a step of this model trains all of its blocks, which can then be processed one after another."""
    return isinstance(model, AbstractBlockModel) and model.plan.apart


def step_by_block(
    data: tuple[Array, Array], state: TrainState, parallel: Parallel | None = None
) -> tuple[TrainState, Metrics]:
    """The same step as [`noprop_ode.train_step`][], in calls of a few compiled functions.

    One function is called T times, each time for the gradient of one block: compilation does not grow with T, and
    back-propagation only keeps the intermediate results of one block. If blocks are on several devices, each call is
    for one block of each. The gradient is applied once all of it is known to be finite, so a bad step changes no block;
    with many blocks and an optimiser that keeps them apart, to a few blocks at a time.

    **Arguments:**

    - `data`: a batch of images and labels.
    - `state`: the state, for a model that `takes_all_blocks`; it is consumed.
    - `parallel`: the layout of the state on devices, if there are several.

    **Returns:** the next state, and the metrics of the step.
    """
    assert isinstance(state.model, AbstractBlockModel)
    inputs = (*data, state.model, state.key, state.step, parallel)
    gathered = nothing(state.model, parallel)
    for _ in range(state.model.field.num_blocks // _devices(parallel)):
        gathered = add_block(inputs, gathered)
    if parallel is None and (size := group_size(state)) < state.model.field.num_blocks:
        blocks, rest = of_blocks(state)
        rest, metrics = finish_rest(data, blocks, rest, gathered)
        return apply_in_groups(state, rest, gathered.blocks, size), metrics
    return finish((*data, parallel), state, gathered)


def _devices(parallel: Parallel | None) -> int:
    return 1 if parallel is None else parallel.block


@eqx.filter_jit
def nothing(model: AbstractBlockModel, parallel: Parallel | None = None) -> _Gathered:
    """What is gathered before the first call: zeros."""
    mask, devices = trainable_mask(model), _devices(parallel)
    shared = eqx.filter(model, _without_blocks(mask))
    gathered = _Gathered(
        i=jnp.zeros((), jnp.int32),
        denoising=jnp.zeros(model.field.num_blocks, jnp.float32),
        blocks=jax.tree.map(jnp.zeros_like, eqx.filter(model.field.stacked, mask.field.stacked)),
        shared=jax.tree.map(lambda a: jnp.zeros((devices, *a.shape), a.dtype), shared),
    )
    if parallel is None:
        return gathered
    shardings = jax.tree.map(lambda spec: NamedSharding(parallel.mesh, spec), _specs(gathered))
    return jax.lax.with_sharding_constraint(gathered, shardings)


# What was gathered is donated: each call writes the gradient of its block into the same buffers.
@donating
def add_block(
    inputs: tuple[Array, Array, AbstractBlockModel, Key, Array, Parallel | None], gathered: _Gathered
) -> _Gathered:
    """Adds the gradient of the next block, on each device of the block axis."""
    xs, ys, model, key, step, parallel = inputs
    if parallel is None or parallel.block == 1:
        return _add(xs, ys, model, key, step, gathered, first=0)
    arrays, static = eqx.partition(model, eqx.is_array)
    own = model.field.num_blocks // parallel.block

    def local(xs: Array, ys: Array, arrays: PyTree[Any], key: Key, step: Array, gathered: _Gathered) -> _Gathered:
        first = jax.lax.axis_index("block") * own
        return _add(xs, ys, eqx.combine(arrays, static), key, step, gathered, first=first)

    # Divided by hand over the blocks, whose devices exchange nothing, and by the compiler over the data axis: it knows
    # the whole batch, so that the noise of an image does not depend on its device.
    whole = PartitionSpec()
    return jax.shard_map(
        local,
        mesh=parallel.mesh,
        in_specs=(whole, whole, block_specs(arrays), whole, whole, _specs(gathered)),
        out_specs=_specs(gathered),
        axis_names={"block"},
        check_vma=False,
    )(xs, ys, arrays, key, step, gathered)


def _specs(gathered: _Gathered) -> PyTree[PartitionSpec]:
    by_block = jax.tree.map(lambda _: PartitionSpec("block"), gathered)
    return eqx.tree_at(lambda g: g.i, by_block, PartitionSpec())


def _without_blocks(mask: PyTree[bool]) -> PyTree[bool]:
    return eqx.tree_at(lambda m: m.field, mask, False)


def _add(
    xs: Array, ys: Array, model: AbstractBlockModel, key: Key, step: Array, gathered: _Gathered, *, first: int | Array
) -> _Gathered:
    i, keys = gathered.i, batch_keys(jr.fold_in(key, step))
    mask = trainable_mask(model)
    # The block is taken from the model out here: inside the derivative, the gradient would have the size of all blocks.
    own, own_fixed = eqx.partition(model.field.block(i), mask.field.stacked)
    shared, fixed = eqx.partition(model, _without_blocks(mask))

    def loss(own: PyTree[Any], shared: PyTree[Any]) -> Scalar:
        block, whole = eqx.combine(own, own_fixed), eqx.combine(shared, fixed)
        return whole.block_loss(block, first + i, xs, ys, key=keys.blocks) / model.field.num_blocks

    value, (own_grads, shared_grads) = jax.value_and_grad(loss, argnums=(0, 1))(own, shared)

    def write(all: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(all, new, i, 0)

    return _Gathered(
        i=i + 1,
        denoising=write(gathered.denoising, value.astype(gathered.denoising.dtype)),
        blocks=jax.tree.map(write, gathered.blocks, own_grads),
        shared=jax.tree.map(lambda all, new: all + new[None], gathered.shared, shared_grads),
    )


@donating
def finish(
    data: tuple[Array, Array, Parallel | None], state: TrainState, gathered: _Gathered
) -> tuple[TrainState, Metrics]:
    """Adds the terms that involve no block, and applies the gradient."""
    xs, ys, parallel = data
    next_state, metrics = apply_gradients(state, *_whole_gradient(xs, ys, state, gathered))
    return next_state if parallel is None else parallel.constrain(next_state), metrics


def _whole_gradient(xs: Array, ys: Array, state: TrainState, gathered: _Gathered) -> tuple[LossTerms, PyTree[Any]]:
    """The terms of the loss, and its gradient: what was gathered, plus that of the terms that involve no block."""
    keys = batch_keys(jr.fold_in(state.key, state.step))
    # Not that of the blocks, which is zero: it would be written, and added to what was gathered.
    shared, rest = eqx.partition(state.model, _without_blocks(trainable_mask(state.model)))

    def loss(shared: PyTree[Any]) -> tuple[Scalar, tuple[Scalar, Scalar]]:
        readout, prior = eqx.combine(shared, rest).shared_loss(xs, ys, key=keys.shared)
        return readout + prior, (readout, prior)

    (_, terms), grads = jax.value_and_grad(loss, has_aux=True)(shared)
    grads = eqx.apply_updates(grads, jax.tree.map(lambda a: jnp.sum(a, axis=0), gathered.shared))
    grads = eqx.tree_at(lambda m: m.field.stacked, grads, gathered.blocks)
    return LossTerms(jnp.sum(gathered.denoising), *terms), grads


@eqx.filter_jit
def finish_rest(
    data: tuple[Array, Array], blocks: TrainState, rest: TrainState, gathered: _Gathered
) -> tuple[TrainState, Metrics]:
    """Like `finish`, for what belongs to no block: the blocks are only read."""
    state = eqx.combine(blocks, rest)
    # The update of the blocks is not returned, and so not computed.
    next_state, metrics = apply_gradients(state, *_whole_gradient(*data, state, gathered))
    return of_blocks(next_state)[1], metrics
