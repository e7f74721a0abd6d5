"""A step of all blocks as one call per block: T problems that share nothing but labels and readout."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._block_model import AbstractBlockModel, batch_keys
from .._model import AbstractModel, LossTerms
from .._trainable import trainable_mask
from .._types import Scalar
from .blockwise import BlockwiseTransformation, takes_part
from .compiled import donating
from .parallel import Parallel, block_specs
from .step import Metrics, TrainState, metrics_of, updated


class Gathered(eqx.Module):
    """What the calls of a step have gathered so far. Arrays with an axis `devices` have an entry for each device of the
    block axis.

    - `i`: which of its blocks a device takes next.
    - `denoising`: the denoising term of each block.
    - `readout`, `prior`: the terms that involve no block.
    - `shared`: the gradient of what blocks share; the sum over devices counts.
    - `squared_norm`: the squared norm of the gradients of the blocks so far.
    - `healthy`: whether everything so far is finite.
    """

    i: Int[Array, ""]
    denoising: Float[Array, " blocks"]
    readout: Float[Array, ""]
    prior: Float[Array, ""]
    shared: PyTree[Any]
    squared_norm: Float[Array, " devices"]
    healthy: Bool[Array, " devices"]


def takes_all_blocks(model: AbstractModel) -> bool:
    """Whether a step of this model trains all of its blocks, which can then be processed one after another."""
    return isinstance(model, AbstractBlockModel) and model.plan.apart


def goes_by_block(state: TrainState) -> bool:
    """Whether a step can take one block after another: not if the optimiser couples them."""
    return takes_all_blocks(state.model) and isinstance(state.optimiser, BlockwiseTransformation)


def step_by_block(
    data: tuple[Array, Array], state: TrainState, parallel: Parallel | None = None
) -> tuple[TrainState, Metrics]:
    """The same step as [`noprop_ode.train_step`][], in calls of a few compiled functions.

    One function is called T times, each time for the gradient and the update of one block: compilation does not grow
    with T, and the intermediate results, the gradient and what the update needs are those of one block. If blocks are
    on several devices, each call is for one block of each.

    A block whose gradient is not finite does not change, and from then on neither does any other, nor what blocks
    share. Those that a device has trained earlier in the same step keep their update: the blocks are problems apart.

    **Arguments:**

    - `data`: a batch of images and labels.
    - `state`: the state, for which `goes_by_block`; it is consumed.
    - `parallel`: the layout of the state on devices, if there are several.

    **Returns:** the next state, and the metrics of the step.
    """
    inputs = (*data, parallel)
    gathered = begin(inputs, state)
    (blocks, rest), calls = of_blocks(state), _num_blocks(state) // _devices(parallel)
    del state
    for _ in range(calls):
        blocks, gathered = add_block((*inputs, rest), blocks, gathered)
    rest, metrics = finish(parallel, rest, gathered)
    return eqx.combine(blocks, rest), metrics


def of_blocks(state: TrainState) -> tuple[TrainState, TrainState]:
    """Splits a state into what has a leading axis T (the weights of blocks, their average, the state of an optimiser
    that keeps blocks apart), and the rest."""
    specs = block_specs(eqx.filter(state, eqx.is_array))
    mask = jax.tree.map(lambda spec: spec == PartitionSpec("block"), specs)
    return eqx.partition(state, eqx.combine(mask, jax.tree.map(lambda _: False, state)))


def _num_blocks(state: TrainState) -> int:
    assert isinstance(state.model, AbstractBlockModel)
    return state.model.field.num_blocks


def _devices(parallel: Parallel | None) -> int:
    return 1 if parallel is None else parallel.block


@eqx.filter_jit
def begin(inputs: tuple[Array, Array, Parallel | None], state: TrainState) -> Gathered:
    """The terms of the loss that involve no block, and their gradient; what is gathered before the first block."""
    xs, ys, parallel = inputs
    devices, mask = _devices(parallel), trainable_mask(state.model)
    keys = batch_keys(jr.fold_in(state.key, state.step))
    shared, rest = eqx.partition(state.model, _without_blocks(mask))

    def loss(shared: PyTree[Any]) -> tuple[Scalar, tuple[Scalar, Scalar]]:
        readout, prior = eqx.combine(shared, rest).shared_loss(xs, ys, key=keys.shared)
        return readout + prior, (readout, prior)

    (total, (readout, prior)), grads = jax.value_and_grad(loss, has_aux=True)(shared)
    healthy = state.healthy & jnp.isfinite(total) & jnp.isfinite(optax.tree.norm(grads))
    gathered = Gathered(
        i=jnp.zeros((), jnp.int32),
        denoising=jnp.zeros(_num_blocks(state), jnp.float32),
        readout=readout,
        prior=prior,
        shared=jax.tree.map(lambda g: jnp.zeros((devices, *g.shape), g.dtype).at[0].set(g), grads),
        squared_norm=jnp.zeros(devices, jnp.float32),
        healthy=jnp.broadcast_to(healthy, devices),
    )
    if parallel is None:
        return gathered
    shardings = jax.tree.map(lambda spec: NamedSharding(parallel.mesh, spec), _specs(gathered))
    return jax.lax.with_sharding_constraint(gathered, shardings)


# Donated, so that each call writes into the same buffers.
@donating
def add_block(
    inputs: tuple[Array, Array, Parallel | None, TrainState], blocks: TrainState, gathered: Gathered
) -> tuple[TrainState, Gathered]:
    """Trains the next block, on each device of the block axis."""
    xs, ys, parallel, rest = inputs
    if parallel is None or parallel.block == 1:
        blocks, gathered = _add(xs, ys, rest, blocks, gathered, first=0)
        return blocks if parallel is None else parallel.constrain(blocks), gathered
    arrays, static = eqx.partition(rest, eqx.is_array)
    own_arrays, own_static = eqx.partition(blocks, eqx.is_array)
    own = _num_blocks(rest) // parallel.block

    def local(
        xs: Array, ys: Array, arrays: PyTree[Any], own_arrays: PyTree[Any], gathered: Gathered
    ) -> tuple[PyTree[Any], Gathered]:
        rest, blocks = eqx.combine(arrays, static), eqx.combine(own_arrays, own_static)
        first = jax.lax.axis_index("block") * own
        blocks, gathered = _add(xs, ys, rest, blocks, gathered, first=first)
        return eqx.filter(blocks, eqx.is_array), gathered

    # Divided by hand over the blocks, whose devices exchange nothing, and by the compiler over the data axis: it knows
    # the whole batch, so that the noise of an image does not depend on its device.
    whole, by_block = PartitionSpec(), jax.tree.map(lambda _: PartitionSpec("block"), own_arrays)
    own_arrays, gathered = jax.shard_map(
        local,
        mesh=parallel.mesh,
        in_specs=(whole, whole, whole, by_block, _specs(gathered)),
        out_specs=(by_block, _specs(gathered)),
        axis_names={"block"},
        check_vma=False,
    )(xs, ys, arrays, own_arrays, gathered)
    return parallel.constrain(eqx.combine(own_arrays, own_static)), gathered


def _specs(gathered: Gathered) -> PyTree[PartitionSpec]:
    by_block = jax.tree.map(lambda _: PartitionSpec("block"), gathered)
    return eqx.tree_at(lambda g: (g.i, g.readout, g.prior), by_block, replace_fn=lambda _: PartitionSpec())


def _without_blocks(mask: PyTree[bool]) -> PyTree[bool]:
    return eqx.tree_at(lambda m: m.field, mask, False)


def _add(
    xs: Array, ys: Array, rest: TrainState, blocks: TrainState, gathered: Gathered, *, first: int | Array
) -> tuple[TrainState, Gathered]:
    i = gathered.i
    arrays, static = eqx.partition(blocks, eqx.is_array)
    # What belongs to the block; without the leading axis, so that XLA copies it out of the stack once for all its uses.
    one = jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, i, keepdims=False), arrays)

    def alone(one: PyTree[Array]) -> Any:
        """The state as if there were no other block: a stack of one."""
        return eqx.combine(jax.tree.map(lambda a: a[None], one), static, rest)

    state = alone(one)
    model, num_blocks = state.model, _num_blocks(rest)
    keys = batch_keys(jr.fold_in(state.key, state.step))
    mask = trainable_mask(model)
    own, own_fixed = eqx.partition(model.field.block(0), mask.field.stacked)
    shared, fixed = eqx.partition(model, _without_blocks(mask))

    def loss(own: PyTree[Any], shared: PyTree[Any]) -> Scalar:
        block, whole = eqx.combine(own, own_fixed), eqx.combine(shared, fixed)
        return whole.block_loss(block, first + i, xs, ys, key=keys.blocks) / num_blocks

    value, (grads, shared_grads) = jax.value_and_grad(loss, argnums=(0, 1))(own, shared)
    squared_norm = jnp.square(optax.tree.norm(grads)).astype(jnp.float32)
    healthy = gathered.healthy & jnp.isfinite(value) & jnp.isfinite(squared_norm)

    optimiser, active = state.optimiser, jnp.ones((), bool)
    if state.average is None:  # which goes on where a block takes no part
        assert isinstance(optimiser, BlockwiseTransformation)
        optimiser, active = optimiser.of_active, takes_part(grads)

    # The update of the rest is not returned, and so not computed.
    none = jax.tree.map(jnp.zeros_like, eqx.filter(model, mask))
    grads = eqx.tree_at(lambda m: m.field.stacked, none, jax.tree.map(lambda g: g[None], grads))

    def write(all: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(all, new.astype(all.dtype), i, 0)

    def trained(arrays: PyTree[Array], one: PyTree[Array], grads: PyTree[Any]) -> PyTree[Array]:
        new = updated(dataclasses.replace(alone(one), optimiser=optimiser), grads, jnp.ones((), bool))
        new = dataclasses.replace(new, optimiser=state.optimiser)
        return jax.tree.map(write, arrays, eqx.filter(of_blocks(new)[0], eqx.is_array))

    # A branch, and no `jnp.where`: XLA fuses nothing across it. Else it would read the moments of the block again
    # wherever they are used, and copy those of all blocks before it writes to them.
    arrays = jax.lax.cond(healthy[0] & active, trained, lambda arrays, *_: arrays, arrays, one, grads)

    return eqx.combine(arrays, static), Gathered(
        i=i + 1,
        denoising=write(gathered.denoising, value[None]),
        readout=gathered.readout,
        prior=gathered.prior,
        shared=jax.tree.map(lambda all, new: all + new[None], gathered.shared, shared_grads),
        squared_norm=gathered.squared_norm + squared_norm,
        healthy=healthy,
    )


@donating
def finish(parallel: Parallel | None, rest: TrainState, gathered: Gathered) -> tuple[TrainState, Metrics]:
    """Applies the gradient of what the blocks share."""
    shared = jax.tree.map(lambda a: jnp.sum(a, axis=0), gathered.shared)
    terms = LossTerms(jnp.sum(gathered.denoising), gathered.readout, gathered.prior)
    norm = jnp.sqrt(jnp.sum(gathered.squared_norm) + jnp.square(optax.tree.norm(shared)))
    healthy = jnp.all(gathered.healthy) & jnp.isfinite(terms.total) & jnp.isfinite(norm)
    after = updated(rest, shared, healthy)
    return after if parallel is None else parallel.constrain(after), metrics_of(rest, terms, norm)
