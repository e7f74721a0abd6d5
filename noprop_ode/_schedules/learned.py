"""A schedule learned with the model."""

import math

import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from .._freezable import AbstractFreezable, held_if_frozen
from .._types import Key, Scalar
from .base import AbstractNoiseSchedule, check_ends


_MIN_SPAN = 1e-3


class LearnedSchedule(AbstractNoiseSchedule, AbstractFreezable):
    r"""A learned schedule: a monotone network between two learned ends (NoProp, appendix B).

    $$\lambda(t) = \lambda_0 + (\lambda_1 - \lambda_0)\, \frac{G(t) - G(0)}{G(1) - G(0)}, \quad
    G(t) = t + \sum_i v_i \tanh(w_i t + b_i), \quad v_i, w_i > 0.$$

    Positive weights and ordered ends come from a softplus, so the schedule increases for every value of its
    parameters; the linear term (as in the network of Kingma et al., 2021) keeps the rate away from zero where all
    the tanh units are saturated. The network starts close to the linear schedule.

    As in the paper, a gradient also reaches the schedule through the weight of the loss. The bound on the log
    likelihood (the paper's weighting) makes that gradient meaningful: under another weighting, a learned schedule may
    drift to where denoising is easy, so freeze it then (`trainable=False`).
    """

    log_snr_0: Scalar
    raw_span: Scalar
    raw_in: Float[Array, " width"]
    bias: Float[Array, " width"]
    raw_out: Float[Array, " width"]
    trainable: bool = eqx.field(static=True)

    def __init__(
        self,
        log_snr_0: float = -7.0,
        log_snr_1: float = 7.0,
        *,
        width: int = 64,
        trainable: bool = True,
        key: Key,
    ):
        r"""**Arguments:**

        - `log_snr_0`, `log_snr_1`: initial log-SNR at both ends, in nats.
        - `width`: number of hidden units.
        - `trainable`: whether the optimiser learns the schedule.
        - `key`: initialises the hidden units.

        **Raises:** `ValueError` unless the ends are ordered and within [-80, 40] and `width` is positive.
        """
        check_ends(log_snr_0, log_snr_1)
        if width < 1:
            raise ValueError(f"The width of a learned schedule must be at least 1; got {width}.")
        span = max(log_snr_1 - log_snr_0 - _MIN_SPAN, 1e-6)
        self.log_snr_0 = jnp.asarray(log_snr_0, dtype=jnp.float32)
        self.raw_span = jnp.asarray(span + math.log(-math.expm1(-span)), dtype=jnp.float32)
        slope_key, centre_key = jr.split(key)
        slope = jr.uniform(slope_key, (width,), jnp.float32, 1.0, 8.0)
        self.raw_in = slope + jnp.log(-jnp.expm1(-slope))
        self.bias = -slope * jr.uniform(centre_key, (width,), jnp.float32)
        self.raw_out = jnp.full((width,), math.log(math.expm1(0.1 / width)), dtype=jnp.float32)
        self.trainable = trainable

    def _rise(self, t: Scalar) -> Scalar:
        """G(t) - G(0) as a sum of increments, none of which is negative: a difference would be rounded to the digits of
        the largest units."""
        slope = jnn.softplus(self.raw_in)
        increments = jnp.tanh(slope * t) * (1 - jnp.tanh(slope * t + self.bias) * jnp.tanh(self.bias))
        return t + jnp.sum(jnn.softplus(self.raw_out) * increments)

    def log_snr(self, t: Scalar) -> Scalar:
        own = held_if_frozen(self)
        # A span of exactly zero (softplus underflow) would stop the schedule: the floor keeps it increasing.
        span = _MIN_SPAN + jnn.softplus(own.raw_span)
        return own.log_snr_0 + span * own._rise(t) / own._rise(jnp.ones_like(t))
