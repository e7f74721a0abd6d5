"""What an optimiser leaves alone because it says so, or because it is a plain number."""

import equinox as eqx
import numpy as np


class AbstractFreezable(eqx.Module):
    """A module that says whether the optimiser may change it.

    A module whose `trainable` is false takes no part in optimisation at all: no gradient, and no weight decay either.
    """

    trainable: eqx.AbstractVar[bool]


def number(value: float) -> float:
    """A number of Python's for one of NumPy's. For fields of modules: Equinox takes a number of NumPy's for an array,
    which is traced where a setting is needed."""
    return value.item() if isinstance(value, np.generic) else value
