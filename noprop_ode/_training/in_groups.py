"""An update of many blocks, a few at a time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, PyTree

from .._block_model import AbstractBlockModel
from .._trainable import trainable_mask
from .blockwise import BlockwiseTransformation
from .compiled import donating
from .parallel import block_specs
from .step import TrainState, updated


# An update of all blocks at once needs memory for twice their weights on a CPU, where XLA first copies both moments. A
# call costs a few milliseconds, however little it does: with groups of this size, a hundredth of the gradients' time.
_GROUP_BYTES = 64 * 2**20


def group_size(state: TrainState) -> int:
    """How many blocks to update at a time: a divisor of T; all of them, unless many are on a CPU."""
    arrays = jax.tree.leaves(eqx.filter(of_blocks(state)[0].model, eqx.is_array))
    num_blocks = len(arrays[0])
    apart = isinstance(state.optimiser, BlockwiseTransformation)
    if not apart or any(device.platform != "cpu" for device in state.step.devices()):
        return num_blocks
    most = _GROUP_BYTES * num_blocks // max(sum(a.nbytes for a in arrays), 1)
    return max(n for n in range(1, num_blocks + 1) if num_blocks % n == 0 and (n <= most or n == 1))


def of_blocks(state: TrainState) -> tuple[TrainState, TrainState]:
    """Splits a state into what has a leading axis T (the weights of blocks, their average, the state of an optimiser
    that keeps blocks apart), and the rest."""
    specs = block_specs(eqx.filter(state, eqx.is_array))
    mask = jax.tree.map(lambda spec: spec == PartitionSpec("block"), specs)
    return eqx.partition(state, eqx.combine(mask, jax.tree.map(lambda _: False, state)))


def apply_in_groups(state: TrainState, next_rest: TrainState, grads: PyTree[Any], size: int) -> TrainState:
    """Applies the gradient of the blocks to `size` of them at a time.

    **Arguments:**

    - `state`: the state, whose blocks are consumed.
    - `next_rest`: what belongs to no block, after the step; it knows whether the step was good.
    - `grads`: the gradient with respect to the blocks, stacked.
    - `size`: from `group_size`.

    **Returns:** the next state.
    """
    blocks, rest = of_blocks(state)
    assert isinstance(state.model, AbstractBlockModel)
    for first in range(0, state.model.field.num_blocks, size):
        i = jnp.asarray(first, jnp.int32)
        group = group_after((i, size), blocks, rest, grads, next_rest.healthy)
        blocks = write_group((i, group), blocks)
        # Else the results of all calls would be allocated before the first of them is written and freed.
        jax.block_until_ready(blocks)
    return eqx.combine(next_rest, blocks)


@eqx.filter_jit
def group_after(
    at: tuple[Array, int], blocks: TrainState, rest: TrainState, grads: PyTree[Any], healthy: Bool[Array, ""]
) -> TrainState:
    """Some blocks after the update: `at` is the position of the first, and their number."""

    def only(tree: PyTree[Any]) -> PyTree[Any]:
        return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, *at) if eqx.is_array(a) else a, tree)

    state = eqx.combine(only(blocks), rest)
    none = jax.tree.map(jnp.zeros_like, eqx.filter(state.model, trainable_mask(state.model)))
    whole = eqx.tree_at(lambda m: m.field.stacked, none, only(grads))
    return of_blocks(updated(state, whole, healthy))[0]


# A separate program: in one with the update, XLA would copy the moments of all blocks before it writes to them.
@donating
def write_group(inputs: tuple[Array, TrainState], blocks: TrainState) -> TrainState:
    """Writes some blocks into the buffers of all."""
    i, group = inputs

    def write(all: Any, new: Any) -> Any:
        return jax.lax.dynamic_update_slice_in_dim(all, new, i, 0) if eqx.is_array(all) else all

    return jax.tree.map(write, blocks, group)
