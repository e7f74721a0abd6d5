import abc
import math

import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp

from ._trainable import AbstractFreezable
from ._types import Scalar


class AbstractNoiseSchedule(eqx.Module):
    r"""A variance-preserving noise schedule: the log signal-to-noise ratio as a function of time, and nothing else.

    Time runs from noise, $t = 0$, to the label, $t = 1$. With $\lambda(t) = \log \mathrm{SNR}(t)$ strictly
    increasing and finite on $[0, 1]$, the embedding $u$ of a label is seen through

    $$z_t = \alpha(t) u + \sigma(t) \epsilon, \quad \alpha^2 = \mathrm{sigmoid}(\lambda), \quad
    \sigma^2 = \mathrm{sigmoid}(-\lambda), \quad \epsilon \sim \mathcal{N}(0, I).$$

    A new schedule implements `log_snr` alone: rates come from it by forward-mode differentiation.

    ??? cite "Reference"

        Kingma, Salimans, Poole and Ho, *Variational Diffusion Models*, 2021 (arXiv 2107.00630). NoProp
        (arXiv 2503.24322) writes $\bar\alpha = \alpha^2$ and $\gamma = -\lambda$.
    """

    @abc.abstractmethod
    def log_snr(self, t: Scalar) -> Scalar:
        r"""The log signal-to-noise ratio $\lambda(t)$, in nats; strictly increasing in `t`.

        **Arguments:**

        - `t`: time in $[0, 1]$.

        **Returns:** $\lambda(t)$, finite.
        """

    def log_snr_rate(self, t: Scalar) -> Scalar:
        r"""The rate $\lambda'(t) > 0$.

        **Arguments:** a time `t` in [0, 1]. **Returns:** nats per unit of time.
        """
        return jax.jvp(self.log_snr, (t,), (jnp.ones_like(t),))[1]

    def alpha_sigma(self, t: Scalar) -> tuple[Scalar, Scalar]:
        r"""Signal and noise amplitudes, with $\alpha^2 + \sigma^2 = 1$.

        **Arguments:** a time `t` in [0, 1]. **Returns:** $(\alpha(t), \sigma(t))$.
        """
        log_snr = self.log_snr(t)
        # exp(log_sigmoid / 2) keeps full relative precision at both ends, where 1 - alpha^2 would cancel.
        return jnp.exp(0.5 * jnn.log_sigmoid(log_snr)), jnp.exp(0.5 * jnn.log_sigmoid(-log_snr))

    def snr(self, t: Scalar) -> Scalar:
        r"""The signal-to-noise ratio $\mathrm{SNR}(t) = \alpha^2 / \sigma^2$.

        **Arguments:** a time `t` in [0, 1]. **Returns:** the ratio, positive.
        """
        return jnp.exp(self.log_snr(t))

    def snr_rate(self, t: Scalar) -> Scalar:
        r"""The rate $\mathrm{SNR}'(t) > 0$: the weight of the continuous-time loss (eq. 9).

        **Arguments:** a time `t` in [0, 1]. **Returns:** the rate, per unit of time.
        """
        return jax.jvp(self.snr, (t,), (jnp.ones_like(t),))[1]

    def snr_increment(self, s: Scalar, t: Scalar) -> Scalar:
        r"""The difference $\mathrm{SNR}(t) - \mathrm{SNR}(s)$: the weight of the discrete-time loss (eq. 8).

        **Arguments:**

        - `s`, `t`: times in $[0, 1]$, `s <= t`.

        **Returns:** the difference, to full relative precision for close times (by `expm1`).
        """
        return self.snr(s) * jnp.expm1(self.log_snr(t) - self.log_snr(s))


def check_ends(log_snr_0: float, log_snr_1: float) -> None:
    """Refuses ends that are not ordered or beyond float32."""
    if not -80 <= log_snr_0 < log_snr_1 <= 40:
        raise ValueError(
            "A schedule needs ends with -80 <= log_snr_0 < log_snr_1 <= 40 (beyond, SNR rates overflow float32); "
            f"got log_snr_0={log_snr_0}, log_snr_1={log_snr_1}. Time runs from noise to label, so the log-SNR "
            "increases."
        )


class LinearSchedule(AbstractNoiseSchedule):
    r"""Log-SNR linear in time: $\lambda(t) = \lambda_0 + (\lambda_1 - \lambda_0) t$.

    **Arguments:**

    - `log_snr_0`, `log_snr_1`: the log-SNR at t = 0 and t = 1, in nats.

    **Raises:** `ValueError` unless the ends are ordered and within [-80, 40].
    """

    log_snr_0: float = -7.0
    log_snr_1: float = 7.0

    def __check_init__(self):
        check_ends(self.log_snr_0, self.log_snr_1)

    def log_snr(self, t: Scalar) -> Scalar:
        """See [`noprop_ode.AbstractNoiseSchedule.log_snr`][]."""
        return self.log_snr_0 + (self.log_snr_1 - self.log_snr_0) * t


class CosineSchedule(AbstractNoiseSchedule):
    r"""The cosine schedule, $\alpha = \sin\theta$ with an angle linear in time: $\lambda(t) = 2 \log\tan\theta(t)$.

    The untruncated schedule has $\theta = \pi t / 2$ and an infinite log-SNR at both ends. Here the angle runs
    between the two values at which $\lambda$ equals `log_snr_0` and `log_snr_1`, so that the schedule is smooth
    and strictly increasing up to its ends; clipping $\lambda$ instead would make its rate zero there.

    ??? cite "References"

        Nichol and Dhariwal, *Improved Denoising Diffusion Probabilistic Models*, 2021 (arXiv 2102.09672);
        truncation as in Ho and Salimans, *Classifier-Free Diffusion Guidance*, 2022 (arXiv 2207.12598).

    **Arguments:**

    - `log_snr_0`, `log_snr_1`: the log-SNR at t = 0 and t = 1, in nats.

    **Raises:** `ValueError` unless the ends are ordered and within [-80, 40].
    """

    log_snr_0: float = -7.0
    log_snr_1: float = 7.0

    def __check_init__(self):
        check_ends(self.log_snr_0, self.log_snr_1)

    def log_snr(self, t: Scalar) -> Scalar:
        """See [`noprop_ode.AbstractNoiseSchedule.log_snr`][]."""
        angle_0 = math.atan(math.exp(0.5 * self.log_snr_0))
        # The complement of the last angle, computed without cancellation; and tan near pi/2 is one over the
        # tangent of the complement, so each half of the schedule is taken from the end where it is accurate.
        rest_1 = math.atan(math.exp(-0.5 * self.log_snr_1))
        span = 0.5 * math.pi - rest_1 - angle_0
        return 2 * (jnp.log(jnp.sin(angle_0 + span * t)) - jnp.log(jnp.sin(rest_1 + span * (1 - t))))


# Below the least slope g is linear in time to five digits (and 0/0 at zero); above the greatest its rate at the ends
# underflows float32, and a schedule whose rate is zero stands still.
_MIN_SLOPE, _MAX_SLOPE = 0.01, 50.0


class SigmoidSchedule(AbstractNoiseSchedule, AbstractFreezable):
    r"""Signal power $\alpha^2$ a sigmoid in time of slope $k$, between the two ends of the log-SNR:

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

        **Raises:** `ValueError` unless the slope is in range and the ends are finite and ordered.
        """
        if not _MIN_SLOPE < slope < _MAX_SLOPE:
            raise ValueError(f"The slope of a sigmoid schedule must lie in ({_MIN_SLOPE}, {_MAX_SLOPE}); got {slope}.")
        check_ends(log_snr_0, log_snr_1)
        # A sigmoid keeps the slope within its bounds for every value the optimiser reaches.
        share = (slope - _MIN_SLOPE) / (_MAX_SLOPE - _MIN_SLOPE)
        self.raw_slope = jnp.asarray(math.log(share) - math.log1p(-share), dtype=jnp.float32)
        self.log_snr_0 = log_snr_0
        self.log_snr_1 = log_snr_1
        self.trainable = trainable

    @property
    def slope(self) -> Scalar:
        """The steepness $k$."""
        return _MIN_SLOPE + (_MAX_SLOPE - _MIN_SLOPE) * jnn.sigmoid(self.raw_slope)

    def log_snr(self, t: Scalar) -> Scalar:
        """See [`noprop_ode.AbstractNoiseSchedule.log_snr`][]."""
        power_0, power_1 = _sigmoid(self.log_snr_0), _sigmoid(self.log_snr_1)
        noise_1 = _sigmoid(-self.log_snr_1)
        half = 0.5 * self.slope
        # sigmoid(a) - sigmoid(-half) over its span, in tanh form: g(t) and 1 - g(t) each without cancellation.
        g = _ramp(t, half)
        rest = _ramp(1 - t, half)
        return jnp.log(power_0 + (power_1 - power_0) * g) - jnp.log(noise_1 + (power_1 - power_0) * rest)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _ramp(t: Scalar, half: Scalar) -> Scalar:
    r"""$(\tanh(h(t - 1/2)) + \tanh(h/2)) / (2 \tanh(h/2))$, as a product that does not cancel near $t = 0$."""
    # tanh a + tanh b = sinh(a + b) / (cosh a cosh b) with a = h (t - 1/2), b = h / 2.
    # Every factor is scaled by the exponential of its argument, so a steep slope does not overflow.
    a = half * (t - 0.5)
    b = 0.5 * half
    sinh = -0.5 * jnp.expm1(-2 * half * t)  # times exp(half t)
    cosh = 0.5 * (1 + jnp.exp(-2 * jnp.abs(a)))  # times exp(|a|)
    sinh_b = -0.5 * jnp.expm1(-half)  # times exp(b)
    return 0.5 * sinh / (cosh * sinh_b) * jnp.exp(half * t - jnp.abs(a) - b)
