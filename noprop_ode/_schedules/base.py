"""The interface of a noise schedule."""

import abc

import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp

from .._types import Scalar


class AbstractNoiseSchedule(eqx.Module):
    r"""A variance-preserving noise schedule: the log signal-to-noise ratio as a function of time, and nothing else.

    Time runs from noise, $t = 0$, to the label, $t = 1$. With $\lambda(t) = \log \mathrm{SNR}(t)$ strictly
    increasing and finite on $[0, 1]$, the embedding $u$ of a label is seen through

    $$z_t = \alpha(t) u + \sigma(t) \epsilon, \quad \alpha^2 = \mathrm{sigmoid}(\lambda), \quad
    \sigma^2 = \mathrm{sigmoid}(-\lambda), \quad \epsilon \sim \mathcal{N}(0, I).$$

    A new schedule only implements `log_snr`: rates follow by forward-mode differentiation. Keep it within [-80, 40]
    nats, beyond which float32 overflows. Floating-point arrays of a subclass are weights, which the optimiser trains
    and decays; to keep them fixed, also subclass [`noprop_ode.AbstractFreezable`][], with
    `trainable: bool = eqx.field(default=False, static=True)`.

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

        **Returns:** the difference, without cancellation for close times (by `expm1`).
        """
        step = self.log_snr(t) - self.log_snr(s)
        # SNR(s) is then negligible beside SNR(t), and `expm1` overflows although the difference does not.
        return jnp.where(step > 80, self.snr(t), self.snr(s) * jnp.expm1(jnp.minimum(step, 80.0)))


def check_ends(log_snr_0: float, log_snr_1: float) -> None:
    """Refuses ends that are not ordered or beyond the range of float32."""
    if not -80 <= log_snr_0 < log_snr_1 <= 40:
        raise ValueError(
            "A schedule needs ends with -80 <= log_snr_0 < log_snr_1 <= 40 (beyond, SNR rates overflow float32); "
            f"got log_snr_0={log_snr_0}, log_snr_1={log_snr_1}. Time runs from noise to label, so the log-SNR "
            "increases."
        )
