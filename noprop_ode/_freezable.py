"""What an optimiser leaves alone because it says so."""

import equinox as eqx


class AbstractFreezable(eqx.Module):
    """A module that says whether the optimiser may change it.

    Where `trainable` is false, the optimiser is not given the arrays of the module: no update, and no weight decay
    either. That is so in [`noprop_ode.TrainState`][] and all that trains by it; a loop of your own divides the model
    by [`noprop_ode.trainable_mask`][].
    """

    trainable: eqx.AbstractVar[bool]
