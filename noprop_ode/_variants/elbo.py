"""A bound on the log likelihood."""

import jax
import jax.numpy as jnp
import jax.random as jr

from .._block_model import AbstractBlockModel
from .._gaussian import AbstractGaussianModel, MarginalEndState, marginal_sample
from .._model import LossTerms
from .._objectives.times import UniformTimes
from .._types import Image, Key, Label, Scalar


def elbo(model: AbstractGaussianModel, x: Image, y: Label, *, key: Key, num_times: int = 128) -> LossTerms:
    r"""The terms of a bound on the log likelihood of a label, in nats: $-\log p(y | x) \le$ their sum.

    For DT, the sum of eq. 8 over its blocks with $\eta = 1$,

    $$\mathbb{E}[-\log p(y | z_1)] + \mathrm{KL} + \sum_k \tfrac{1}{2} (\mathrm{SNR}(k) - \mathrm{SNR}(k - 1))
    \left\|\hat u_k(z_{k-1}, x) - u_y\right\|^2,$$

    and for CT its limit, eq. 9, an integral over t. The bound holds for the model with the paper's generative process,
    whatever objective it was trained with.

    **Arguments:**

    - `model`: DT, CT or another model of the Gaussian path; the sum for one of blocks, the integral for any other.
    - `x`, `y`: an example.
    - `key`: randomness of times and noise.
    - `num_times`: points of the integral for CT, and draws of noise for the readout; DT uses each of its blocks once.

    **Returns:** the terms `denoising`, `readout` and `prior`; their `total` is the bound.

    **Raises:** `ValueError` for fewer than one time.
    """
    if num_times < 1:
        raise ValueError(f"Expected num_times of at least 1; got {num_times}.")
    path_key, end_key = jr.split(key)
    u = model.embedding(y)
    features = model.field.encode(x)

    def squared_error(t: Scalar, key: Key) -> Scalar:
        z = marginal_sample(u, t, model.schedule, key=key)
        return jnp.sum((model.predict_embedding(t, z, features) - u) ** 2)

    if isinstance(model, AbstractBlockModel):
        num_blocks = model.field.num_blocks
        grid = jnp.linspace(0.0, 1.0, num_blocks + 1, dtype=jnp.float32)
        increments = jax.vmap(model.schedule.snr_increment)(grid[:-1], grid[1:])
        # As a Python loop: each block has its own network, which a map over times would gather for every time.
        errors = jnp.stack([squared_error(grid[k], jr.fold_in(path_key, k)) for k in range(num_blocks)])
        denoising = 0.5 * jnp.sum(increments * errors)
    else:
        times_key, noise_key = jr.split(path_key)
        ts = UniformTimes().stratified(num_times, key=times_key)
        errors = jax.vmap(squared_error)(ts, jr.split(noise_key, num_times))
        denoising = 0.5 * jnp.mean(jax.vmap(model.schedule.snr_rate)(ts) * errors)

    def shared_terms(key: Key) -> tuple[Scalar, Scalar]:
        return model.shared_terms(x, y, key=key, end_state=MarginalEndState())

    readout, prior = jax.vmap(shared_terms, out_axes=(0, None))(jr.split(end_key, num_times))
    return LossTerms(denoising, jnp.mean(readout), prior)
