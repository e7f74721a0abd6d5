"""An optimiser applied to each block separately."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, PyTree

from .._blocks import Blocks
from .._model import AbstractModel
from .._trainable import trainable_mask


class BlockwiseState(NamedTuple):
    """State of a [`noprop_ode.blockwise`][] optimiser: `blocks`, where every array has a leading axis T, and `rest`."""

    blocks: PyTree[Any]
    rest: PyTree[Any]


def is_blockwise_state(node: Any) -> bool:
    """Whether a node of a PyTree is such a state."""
    return isinstance(node, BlockwiseState)


@dataclass(frozen=True, eq=False)
class BlockwiseUpdate:
    """The update of an optimiser that keeps blocks apart, with another way to compute it: for blocks that are known to
    take part in the step, without a look at their gradients. A function, because transformations are made again from
    their functions wherever a PyTree is."""

    whole: Callable[..., Any]
    of_active: Callable[..., Any]

    def __call__(self, updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return self.whole(updates, state, params)


class BlockwiseTransformation(optax.GradientTransformation):
    """What [`noprop_ode.blockwise`][] returns: an optimiser that is known to keep blocks apart."""

    @property
    def of_active(self) -> optax.GradientTransformation:
        """The same for blocks that are known to take part in the step."""
        own = self.update.of_active if isinstance(self.update, BlockwiseUpdate) else self.update
        return optax.GradientTransformation(self.init, own)


def blockwise(
    optimiser: optax.GradientTransformation, rest: optax.GradientTransformation | None = None
) -> BlockwiseTransformation:
    """Applies an optimiser to each block separately, so that no block depends on another through it.

    Over stacked blocks, a clip by global norm or a trust ratio would mix the blocks. Here, every block has its own
    state, its own norm and its own step count. A block whose gradient is exactly zero took no part in the step, and
    neither its weights nor its state change: no momentum, no weight decay.

    **Arguments:**

    - `optimiser`: for each block. It is given one block, without the leading axis, separately from what belongs to no
        block, so a mask or labels must be a function of what they are given.
    - `rest`: for everything else (readout, embedding, schedule); the same optimiser if not given.

    **Returns:** an optax transformation for models that contain [`noprop_ode.Blocks`][].
    """
    rest = optimiser if rest is None else rest

    def init(params: PyTree[Any]) -> BlockwiseState:
        blocks, others = _split(params)
        # Blocks that are frozen have nothing to map over.
        init_blocks = jax.vmap(optimiser.init) if jax.tree.leaves(blocks) else optimiser.init
        return BlockwiseState(init_blocks(blocks), rest.init(others))

    def update(updates: Any, state: Any, params: Any = None, *, of_block: Any = _update_active(optimiser)) -> Any:
        block_grads, other_grads = _split(updates)
        block_params, other_params = (None, None) if params is None else _split(params)
        new_blocks, block_state = block_grads, state.blocks
        if jax.tree.leaves(block_grads):
            new_blocks, block_state = jax.vmap(of_block)(block_grads, state.blocks, block_params)
        new_others, rest_state = rest.update(other_grads, state.rest, other_params)
        return _merge(updates, new_blocks, new_others), BlockwiseState(block_state, rest_state)

    of_active = functools.partial(update, of_block=optimiser.update)
    return BlockwiseTransformation(init, BlockwiseUpdate(update, of_active))


def kept_apart(model: AbstractModel, optimiser: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser for a model: for each block separately, if the model trains its blocks independently.

    **Arguments:** the model, and an optimiser, which may already be one of [`noprop_ode.blockwise`][].

    **Returns:** an optimiser that does not couple what the loss keeps apart.

    **Raises:** `ValueError` for one of [`noprop_ode.blockwise`][] inside another, which may couple the blocks again.
    """
    if model.independent_blocks is None or isinstance(optimiser, BlockwiseTransformation):
        return optimiser
    state = jax.eval_shape(optimiser.init, eqx.filter(model, trainable_mask(model)))
    if any(map(is_blockwise_state, jax.tree.leaves(state, is_leaf=is_blockwise_state))):
        raise ValueError(
            "The optimiser has blockwise(...) within another transformation, such as chain or MultiSteps. Put what is "
            "around it inside: blockwise(optax.chain(...)); or leave blockwise out, which fit adds itself."
        )
    return blockwise(optimiser)


def takes_part(grads: PyTree[Array]) -> Bool[Array, ""]:
    """Whether a block takes part in a step: its gradient is not exactly zero."""
    return functools.reduce(jnp.logical_or, (jnp.any(g != 0) for g in jax.tree.leaves(grads)), jnp.zeros((), bool))


def _update_active(optimiser: optax.GradientTransformation):
    def update(grads: PyTree[Any], state: PyTree[Any], params: PyTree[Any]):
        active = takes_part(grads)
        new, new_state = optimiser.update(grads, state, params)
        new = jax.tree.map(lambda u: jnp.where(active, u, jnp.zeros_like(u)), new)
        return new, jax.tree.map(lambda n, o: jnp.where(active, n, o), new_state, state)

    return update


def _is_blocks(node: Any) -> bool:
    return isinstance(node, Blocks)


def _split(tree: PyTree[Any]) -> tuple[Any, PyTree[Any]]:
    nodes = jax.tree.leaves(tree, is_leaf=_is_blocks)
    others = jax.tree.map(lambda node: None if _is_blocks(node) else node, tree, is_leaf=_is_blocks)
    blocks = [node for node in nodes if _is_blocks(node)]
    if not blocks:
        raise ValueError(
            "blockwise() is for models with noprop_ode.Blocks; this one has none. Use the optimiser itself."
        )
    return blocks, others


def _merge(like: PyTree[Any], blocks: list[Blocks], others: PyTree[Any]) -> PyTree[Any]:
    remaining_blocks, remaining_others = iter(blocks), iter(jax.tree.leaves(others))
    return jax.tree.map(
        lambda node: next(remaining_blocks) if _is_blocks(node) else next(remaining_others), like, is_leaf=_is_blocks
    )
