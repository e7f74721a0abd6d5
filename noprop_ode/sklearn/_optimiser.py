"""AdamW with learning rate and weight decay in its state, so that a search over them compiles once."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from .._training.blockwise import blockwise


_ADAM = optax.scale_by_adam()


class Rated(NamedTuple):
    """The state: Adam's, with learning rate and weight decay."""

    adam: Any
    learning_rate: Float[Array, "*blocks"]
    weight_decay: Float[Array, "*blocks"]


def adamw(learning_rate: float, weight_decay: float, *, by_block: bool) -> optax.GradientTransformation:
    """The optimiser. Two of them are equal, and share their compiled steps, whatever learning rate and weight decay.

    **Arguments:**

    - `learning_rate`, `weight_decay`: as for `optax.adamw`.
    - `by_block`: whether each block has its own, as with [`noprop_ode.blockwise`][].
    """
    start = _Start(by_block, learning_rate, weight_decay)
    return _by_block()._replace(init=start) if by_block else optax.GradientTransformation(start, _update)


def with_rates(state: PyTree[Any], learning_rate: float, weight_decay: float) -> PyTree[Any]:
    """A state of that optimiser with another learning rate and weight decay.

    **Arguments:** the state and the two values. **Returns:** the state.
    """

    def replaced(node: Any) -> Any:
        if not isinstance(node, Rated):
            return node
        rates = (jnp.full_like(node.learning_rate, learning_rate), jnp.full_like(node.weight_decay, weight_decay))
        return Rated(node.adam, *rates)

    return jax.tree.map(replaced, state, is_leaf=lambda node: isinstance(node, Rated))


@dataclasses.dataclass(frozen=True)
class _Start:
    """Makes the initial state; equal to others that make one of the same structure."""

    by_block: bool
    learning_rate: float = dataclasses.field(compare=False)
    weight_decay: float = dataclasses.field(compare=False)

    def __call__(self, params: PyTree[Any]) -> PyTree[Any]:
        return with_rates(_empty_state(params, self.by_block), self.learning_rate, self.weight_decay)


# As one program: array by array, it would be as many small ones.
@functools.partial(jax.jit, static_argnums=1)
def _empty_state(params: PyTree[Any], by_block: bool) -> PyTree[Any]:
    return _by_block().init(params) if by_block else _init(params)


def _init(params: PyTree[Any]) -> Rated:
    return Rated(_ADAM.init(params), jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))


def _update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Rated]:
    directions, adam = _ADAM.update(updates, state.adam, params)
    rate, decay = state.learning_rate, state.weight_decay
    new = jax.tree.map(lambda d, p: -rate * (d + decay * p), directions, params)
    return new, state._replace(adam=adam)


@functools.cache
def _by_block():
    return blockwise(optax.GradientTransformation(_init, _update))
