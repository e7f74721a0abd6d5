"""Modules that an optimiser leaves alone on request."""

from typing import TypeVar

import equinox as eqx
import jax


_Freezable = TypeVar("_Freezable", bound="AbstractFreezable")


class AbstractFreezable(eqx.Module):
    """A module that says whether the optimiser may change it.

    If `trainable` is false, the optimiser never sees the arrays of the module: they get no update, and no weight decay
    either. This holds for [`noprop_ode.TrainState`][] and everything that trains with it; in your own training loop,
    partition the model with [`noprop_ode.trainable_mask`][]. (The gradients of the frozen modules of this library are
    zero in any loop, but an optimiser that is given their arrays may still decay them.)
    """

    trainable: eqx.AbstractVar[bool]


def held_if_frozen(module: _Freezable) -> _Freezable:
    """The module itself, or, if it is frozen, one whose arrays have no gradient."""
    if module.trainable:
        return module
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, module)
