"""Copies of models and states, whose arrays a step would consume."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from .._allocator import release_freed_memory


_T = TypeVar("_T")


def copied(tree: _T) -> _T:
    """A copy of a model or a state. Each step of [`noprop_ode.train`][] and [`noprop_ode.fit`][] consumes the previous
    state, whose arrays are then deleted; a copy stays valid.

    !!! example

        ```python
        for state, metrics in noprop_ode.train(state, batches):
            if float(metrics.loss) < least:
                least, kept = float(metrics.loss), noprop_ode.copied(state)
        ```

    **Arguments:** any PyTree. **Returns:** the same, with arrays of its own.
    """
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return eqx.combine(_copied(arrays), rest)


def taken_over(trees: list[_T]) -> _T:
    """Like `copied`, for the only tree in a list, which is taken out. Large arrays are copied one after another, so
    that one of which nobody else has a reference is freed before the next is copied. If memory runs out, the list has
    the tree again."""
    leaves, structure = jax.tree.flatten(trees.pop())
    arrays = [n for n, leaf in enumerate(leaves) if eqx.is_array(leaf)]
    large = [n for n in arrays if leaves[n].nbytes >= 2**20]
    small = [n for n in arrays if leaves[n].nbytes < 2**20]
    try:
        for n in large:
            _copy_in_place(leaves, [n])
            release_freed_memory(leaves[n].nbytes)
        _copy_in_place(leaves, small)
    except BaseException:
        trees.append(jax.tree.unflatten(structure, leaves))
        raise
    return jax.tree.unflatten(structure, leaves)


def take_over(holder: Any) -> Any:
    """The same for the `state` of an object, which meanwhile has none, and gets it back."""
    given = [holder.state]
    del holder.state  # else it would be held while it is copied
    try:
        holder.state = taken_over(given)
    except BaseException:
        holder.state = given.pop()
        raise
    return holder.state


def _copy_in_place(leaves: list[Any], places: list[int]) -> None:
    copies = jax.block_until_ready(_copied([leaves[n] for n in places]))  # until then the device holds both
    for n, copy in zip(places, copies):
        leaves[n] = copy


@jax.jit
def _copied(arrays: PyTree[Array]) -> PyTree[Array]:
    """One program for all arrays, each copied where it lies: with several processes, each copies its part."""
    return jax.tree.map(jnp.copy, arrays)
