"""What an optimiser leaves alone because it says so, or because it is a plain number."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree


class AbstractFreezable(eqx.Module):
    """A module that says whether the optimiser may change it.

    Where `trainable` is false, the optimiser is not given the arrays of the module: no update, and no weight decay
    either. That is so in [`noprop_ode.TrainState`][] and all that trains by it; a loop of your own divides the model
    by [`noprop_ode.trainable_mask`][].
    """

    trainable: eqx.AbstractVar[bool]


def number(value: float) -> float:
    """A number of Python's for one of NumPy's. For fields of modules: Equinox takes a number of NumPy's for an array,
    which is traced where a setting is needed."""
    return value.item() if isinstance(value, np.generic) else value


def plain_numbers(tree: PyTree[Any]) -> PyTree[Any]:
    """A PyTree with a number of Python's for each of NumPy's: in a module of the user's own too, it is a setting."""
    return jax.tree.map(lambda leaf: leaf.item() if isinstance(leaf, np.generic) else leaf, tree)
