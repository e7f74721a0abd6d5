"""Numbers that are settings, not arrays."""

from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree


def number(value: float) -> float:
    """Converts a NumPy scalar to a Python number. For fields of modules: Equinox treats a NumPy scalar as an array,
    which would be traced where a setting is needed."""
    return value.item() if isinstance(value, np.generic) else value


def plain_numbers(tree: PyTree[Any]) -> PyTree[Any]:
    """Converts the NumPy scalars in a PyTree to Python numbers: they are settings, also in a user's own module."""
    return jax.tree.map(lambda leaf: leaf.item() if isinstance(leaf, np.generic) else leaf, tree)
