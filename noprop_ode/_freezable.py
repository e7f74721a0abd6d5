"""Modules that an optimiser leaves alone on request."""

import equinox as eqx


class AbstractFreezable(eqx.Module):
    """A module that says whether the optimiser may change it.

    If `trainable` is false, the optimiser never sees the arrays of the module: they get no update, and no weight decay
    either. This holds for [`noprop_ode.TrainState`][] and everything that trains with it; in your own training loop,
    partition the model with [`noprop_ode.trainable_mask`][].
    """

    trainable: eqx.AbstractVar[bool]
