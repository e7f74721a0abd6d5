"""The weight of the denoising error at each time."""

import abc

import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp

from .._numbers import number
from .._schedules.base import AbstractNoiseSchedule
from .._types import Scalar


class AbstractWeighting(eqx.Module):
    """The weight $w(t)$ of the denoising error at time t."""

    @abc.abstractmethod
    def __call__(self, schedule: AbstractNoiseSchedule, t: Scalar) -> Scalar:
        """The weight in continuous time.

        **Arguments:**

        - `schedule`: the noise schedule.
        - `t`: the training time.

        **Returns:** a non-negative weight.
        """

    @abc.abstractmethod
    def over(self, schedule: AbstractNoiseSchedule, s: Scalar, t: Scalar) -> Scalar:
        """The weight of the block that owns the interval from `s` to `t`: the discrete-time counterpart, which
        tends to the weight in continuous time as the interval shrinks.

        **Arguments:**

        - `schedule`: the noise schedule.
        - `s`, `t`: the ends of the interval, `s < t`; the network sees its state at `s`.

        **Returns:** a non-negative weight.
        """


class ELBOWeighting(AbstractWeighting):
    r"""The paper's weight, from a bound on the log likelihood: $\mathrm{SNR}'(t)$ (eq. 9), and over an interval
    $(\mathrm{SNR}(t) - \mathrm{SNR}(s)) / (t - s)$, which is $T (\mathrm{SNR}(k) - \mathrm{SNR}(k - 1))$ for
    block k of T (eq. 8).

    In continuous time, nearly all of this weight falls where the noisy label already reveals the class.
    """

    def __call__(self, schedule: AbstractNoiseSchedule, t: Scalar) -> Scalar:
        return schedule.snr_rate(t)

    def over(self, schedule: AbstractNoiseSchedule, s: Scalar, t: Scalar) -> Scalar:
        return schedule.snr_increment(s, t) / (t - s)


class UniformWeighting(AbstractWeighting):
    """A weight of one at every time."""

    def __call__(self, schedule: AbstractNoiseSchedule, t: Scalar) -> Scalar:
        return jnp.ones_like(t)

    def over(self, schedule: AbstractNoiseSchedule, s: Scalar, t: Scalar) -> Scalar:
        return jnp.ones_like(t)


class MinSNRWeighting(AbstractWeighting):
    r"""The capped weight $\min(\mathrm{SNR}(t), c)$.

    ??? cite "Reference"

        Hang et al., *Efficient Diffusion Training via Min-SNR Weighting Strategy*, 2023 (arXiv 2303.09556), for a
        network that predicts the clean signal.

    **Arguments:**

    - `cap`: the largest weight c.

    **Raises:** `ValueError` unless the cap is positive.
    """

    cap: float = eqx.field(default=5.0, converter=number)

    def __check_init__(self):
        if not self.cap > 0:
            raise ValueError(f"The cap of a min-SNR weight must be positive; got {self.cap}.")

    def __call__(self, schedule: AbstractNoiseSchedule, t: Scalar) -> Scalar:
        return jnp.minimum(schedule.snr(t), self.cap)

    def over(self, schedule: AbstractNoiseSchedule, s: Scalar, t: Scalar) -> Scalar:
        """The weight of a step; the SNR is that of the state the network sees."""
        return jnp.minimum(schedule.snr(s), self.cap)


class SigmoidWeighting(AbstractWeighting):
    r"""The bound's weight damped by a sigmoid of the log-SNR: $\mathrm{sigmoid}(b - \lambda(t))\,
    \mathrm{SNR}'(t) = e^b\, \mathrm{sigmoid}(\lambda(t) - b)\, \lambda'(t)$.

    ??? cite "Reference"

        Kingma and Gao, *Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation*, 2023
        (arXiv 2303.00848): a weight decreasing in the log-SNR.

    **Arguments:**

    - `bias`: the log-SNR b above which the weight is damped, in nats.
    """

    bias: float = eqx.field(default=0.0, converter=number)

    def __call__(self, schedule: AbstractNoiseSchedule, t: Scalar) -> Scalar:
        return self._damped(schedule.log_snr(t)) * schedule.log_snr_rate(t)

    def over(self, schedule: AbstractNoiseSchedule, s: Scalar, t: Scalar) -> Scalar:
        rate = (schedule.log_snr(t) - schedule.log_snr(s)) / (t - s)
        return self._damped(schedule.log_snr(s)) * rate

    def _damped(self, log_snr: Scalar) -> Scalar:
        # A single exponential: that of a large bias alone would overflow.
        return jnp.exp(log_snr + jnn.log_sigmoid(self.bias - log_snr))
