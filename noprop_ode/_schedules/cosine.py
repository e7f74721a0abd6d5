"""The cosine schedule."""

import math

import equinox as eqx
import jax.numpy as jnp

from .._numbers import number
from .._types import Scalar
from .base import AbstractNoiseSchedule, check_ends


class CosineSchedule(AbstractNoiseSchedule):
    r"""The cosine schedule, $\alpha = \sin\theta$ with an angle linear in time: $\lambda(t) = 2 \log\tan\theta(t)$.

    The untruncated schedule has $\theta = \pi t / 2$ and an infinite log-SNR at both ends. Here the angle runs between
    the two values at which $\lambda$ equals `log_snr_0` and `log_snr_1`, so that the schedule is smooth and strictly
    increasing up to its ends; clipping $\lambda$ instead would make its rate zero there. The rate at an end is about
    $\pi e^{|\lambda| / 2}$: with ends beyond about 10 nats, a solver that evaluates at t = 1, such as Heun or Tsit5,
    is unstable with fixed steps. Use [`noprop_ode.Ancestral`][], Euler's method or a linear schedule there.

    ??? cite "References"

        Nichol and Dhariwal, *Improved Denoising Diffusion Probabilistic Models*, 2021 (arXiv 2102.09672);
        truncation as in Ho and Salimans, *Classifier-Free Diffusion Guidance*, 2022 (arXiv 2207.12598).

    **Arguments:**

    - `log_snr_0`, `log_snr_1`: the log-SNR at t = 0 and t = 1, in nats.

    **Raises:** `ValueError` unless the ends are ordered and within [-80, 40].
    """

    log_snr_0: float = eqx.field(default=-7.0, converter=number)
    log_snr_1: float = eqx.field(default=7.0, converter=number)

    def __check_init__(self):
        check_ends(self.log_snr_0, self.log_snr_1)

    def log_snr(self, t: Scalar) -> Scalar:
        angle_0 = math.atan(math.exp(0.5 * self.log_snr_0))
        # The complement of the last angle, computed without cancellation; and tan near pi/2 is one over the
        # tangent of the complement, so each half of the schedule is taken from the end where it is accurate.
        rest_1 = math.atan(math.exp(-0.5 * self.log_snr_1))
        end = 0.5 * math.pi - rest_1 if self.log_snr_1 > 0 else math.atan(math.exp(0.5 * self.log_snr_1))
        span = end - angle_0
        return 2 * (jnp.log(jnp.sin(angle_0 + span * t)) - jnp.log(jnp.sin(rest_1 + span * (1 - t))))
