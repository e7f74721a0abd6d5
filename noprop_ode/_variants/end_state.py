"""Training the readout on the states where the dynamics arrive."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from .._choices import AbstractSampler
from .._gaussian import AbstractEndState, AbstractGaussianModel
from .._types import Image, Key, Latent


class SampledEndState(AbstractEndState):
    """Where the sampler arrives from noise, as at inference: the readout then also learns the errors of the dynamics.

    The label does not enter the state, and no gradient passes through the sampler. A training step also costs a second
    encoding of the image and the steps of the sampler.

    **Arguments:**

    - `sampler`: carries noise to the end state; use few steps.
    """

    sampler: AbstractSampler

    def __call__(self, model: AbstractGaussianModel, x: Image, u: Latent, *, key: Key) -> Latent:
        start_key, path_key = jr.split(key)
        # Before the solve: a derivative of the trajectory is then not even traced.
        fixed = jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_inexact_array(a) else a, model)
        z0 = jr.normal(start_key, u.shape, jnp.float32)
        return jax.lax.stop_gradient(
            self.sampler.sample(fixed, z0, fixed.field.encode(x), key=path_key).z_to_learn_from
        )
