"""Which arrays an optimiser may change."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from ._choices import AbstractSampler


class AbstractFreezable(eqx.Module):
    """A module that says whether the optimiser may change it.

    A module whose `trainable` is false takes no part in optimisation at all: no gradient, and no weight decay either.
    """

    trainable: eqx.AbstractVar[bool]


def trainable_mask(model: PyTree[Any]) -> PyTree[bool]:
    """Marks the arrays that an optimiser may change, for `equinox.partition` or `optax.masked`.

    **Arguments:**

    - `model`: any PyTree of modules.

    **Returns:** the same structure with a boolean in place of each leaf: true for floating-point arrays that are
    not part of a frozen module or of a sampler.
    """

    def frozen(node: Any) -> bool:
        # The times of a sampler say where it steps, and are nothing to learn.
        return isinstance(node, AbstractSampler) or (isinstance(node, AbstractFreezable) and not node.trainable)

    def mark(node: Any) -> PyTree[bool]:
        if frozen(node):
            return jax.tree.map(lambda _: False, node)
        return eqx.is_inexact_array(node)

    return jax.tree.map(mark, model, is_leaf=frozen)
