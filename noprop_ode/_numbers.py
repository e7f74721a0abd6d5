"""Numbers that are settings, not arrays."""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree


def number(value: float) -> float:
    """A number of Python's for one of NumPy's. For fields of modules: Equinox takes a number of NumPy's for an array,
    which is traced where a setting is needed."""
    return value.item() if isinstance(value, np.generic) else value


def plain_numbers(tree: PyTree[Any]) -> PyTree[Any]:
    """A PyTree with a number of Python's for each of NumPy's: in a module of the user's own too, it is a setting."""
    return jax.tree.map(lambda leaf: leaf.item() if isinstance(leaf, np.generic) else leaf, tree)
