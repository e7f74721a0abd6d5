"""The Gaussian path that DT and CT share, in closed form."""

import jax.numpy as jnp
import jax.random as jr

from ._schedule import AbstractNoiseSchedule
from ._types import Key, Latent, Scalar


def marginal_sample(u: Latent, t: Scalar, schedule: AbstractNoiseSchedule, *, key: Key) -> Latent:
    r"""A draw from the marginal $q(z_t | y)$: $z_t = \alpha(t) u + \sigma(t) \epsilon$.

    **Arguments:**

    - `u`: the embedding of the label, shape `[dim]`.
    - `t`: time in [0, 1].
    - `schedule`: the noise schedule.
    - `key`: the noise.

    **Returns:** the state, shape `[dim]`.
    """
    alpha, sigma = schedule.alpha_sigma(t)
    return alpha * u + sigma * jr.normal(key, u.shape, u.dtype)


def kl_to_standard_normal(u: Latent, alpha: Scalar, sigma: Scalar) -> Scalar:
    r"""The KL divergence of $q(z_0 | y) = \mathcal{N}(\alpha_0 u, \sigma_0^2 I)$ from $\mathcal{N}(0, I)$, in nats:

    $$\frac{1}{2} \left(\alpha_0^2 \|u\|^2 - d\, \alpha_0^2 - d \log \sigma_0^2\right),$$

    using $\sigma_0^2 - 1 = -\alpha_0^2$ (the prior term of eq. 8 and 9).

    **Arguments:**

    - `u`: an embedding, shape `[dim]`.
    - `alpha`, `sigma`: amplitudes at t = 0.

    **Returns:** the divergence, at least 0.
    """
    dim = u.size
    return 0.5 * (alpha**2 * (jnp.sum(u**2) - dim) - 2 * dim * jnp.log(sigma))
