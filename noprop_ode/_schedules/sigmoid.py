"""Signal power as a sigmoid in time."""

import math

import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp

from .._freezable import AbstractFreezable, held_if_frozen
from .._numbers import number
from .._types import Scalar
from .base import AbstractNoiseSchedule, check_ends


# Below the smallest slope, g is linear in time to five digits (and 0/0 at zero); above the largest, its rate at the
# ends underflows float32, and a schedule whose rate is zero stands still.
_MIN_SLOPE, _MAX_SLOPE = 0.01, 50.0


class SigmoidSchedule(AbstractNoiseSchedule, AbstractFreezable):
    r"""Signal power $\alpha^2$ as a sigmoid in time with slope $k$, between the two ends of the log-SNR:

    $$\alpha^2(t) = a_0 + (a_1 - a_0)\, g(t), \quad
    g(t) = \frac{\mathrm{sigmoid}(k (t - 1/2)) - \mathrm{sigmoid}(-k / 2)}
                {\mathrm{sigmoid}(k / 2) - \mathrm{sigmoid}(-k / 2)}, \quad
    a_i = \mathrm{sigmoid}(\lambda_i).$$

    A small slope makes $\alpha^2$ linear in time, a large one a step at $t = 1/2$.

    ??? cite "Reference"

        Jabri, Fleet and Chen, *Scalable Adaptive Computation for Iterative Generation*, 2022 (arXiv 2212.11972).
    """

    raw_slope: Scalar
    log_snr_0: float
    log_snr_1: float
    trainable: bool = eqx.field(static=True)

    def __init__(
        self,
        slope: float = 6.0,
        log_snr_0: float = -7.0,
        log_snr_1: float = 7.0,
        *,
        trainable: bool = False,
    ):
        """**Arguments:**

        - `slope`: steepness $k$, per unit of time, between 0.01 and 50.
        - `log_snr_0`, `log_snr_1`: the log-SNR at both ends, in nats.
        - `trainable`: whether the optimiser learns the slope.

        **Raises:** `ValueError` unless the slope is in range and the ends are ordered and within [-80, 40].
        """
        if not _MIN_SLOPE < slope < _MAX_SLOPE:
            raise ValueError(f"The slope of a sigmoid schedule must lie in ({_MIN_SLOPE}, {_MAX_SLOPE}); got {slope}.")
        check_ends(log_snr_0, log_snr_1)
        # A sigmoid keeps the slope within its bounds for every value the optimiser reaches.
        share = (slope - _MIN_SLOPE) / (_MAX_SLOPE - _MIN_SLOPE)
        self.raw_slope = jnp.asarray(math.log(share) - math.log1p(-share), dtype=jnp.float32)
        self.log_snr_0 = number(log_snr_0)
        self.log_snr_1 = number(log_snr_1)
        self.trainable = trainable

    @property
    def slope(self) -> Scalar:
        """The steepness $k$."""
        return _MIN_SLOPE + (_MAX_SLOPE - _MIN_SLOPE) * jnn.sigmoid(held_if_frozen(self).raw_slope)

    def log_snr(self, t: Scalar) -> Scalar:
        power_0, noise_1 = _sigmoid(self.log_snr_0), _sigmoid(-self.log_snr_1)
        # From the ends at which neither power is close to one.
        sign = 1 if self.log_snr_0 < 0 else -1
        span = sign * (_sigmoid(sign * self.log_snr_1) - _sigmoid(sign * self.log_snr_0))
        half = 0.5 * self.slope
        # sigmoid(a) - sigmoid(-half) over its span, in tanh form: g(t) and 1 - g(t) each without cancellation.
        g = _ramp(t, half)
        rest = _ramp(1 - t, half)
        return jnp.log(power_0 + span * g) - jnp.log(noise_1 + span * rest)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _ramp(t: Scalar, half: Scalar) -> Scalar:
    r"""$(\tanh(h(t - 1/2)) + \tanh(h/2)) / (2 \tanh(h/2))$, as a product that does not cancel near $t = 0$."""
    # tanh a + tanh b = sinh(a + b) / (cosh a cosh b) with a = h (t - 1/2), b = h / 2.
    # Every factor is scaled by the exponential of its argument, so a steep slope does not overflow.
    a = half * (t - 0.5)
    sinh = -0.5 * jnp.expm1(-2 * half * t)  # times exp(half t)
    cosh = 0.5 * (1 + jnp.exp(-2 * jnp.abs(a)))  # times exp(|a|)
    sinh_b = -0.5 * jnp.expm1(-half)  # times exp(b)
    return 0.5 * sinh / (cosh * sinh_b) * jnp.exp(a - jnp.abs(a))  # half t - b = a
