"""The ancestral step of a Gaussian path, from the schedule alone."""

from typing import NamedTuple

import jax.numpy as jnp

from .._types import Scalar
from .base import AbstractNoiseSchedule


class AncestralCoefficients(NamedTuple):
    r"""The coefficients `a`, `b` and `c` of the step $z_t = a \hat u + b z_s + c \epsilon$."""

    a: Scalar
    b: Scalar
    c: Scalar


def ancestral_coefficients(
    schedule: AbstractNoiseSchedule, s: Scalar, t: Scalar, churn: float = 1.0
) -> AncestralCoefficients:
    r"""Coefficients of the step from `s` to `t` that is exact when the prediction $\hat u$ is the true embedding.

    With $r = \mathrm{SNR}(s) / \mathrm{SNR}(t)$, fresh noise of standard deviation $c$ replaces part of the old:

    $$c = \mathrm{churn}\, \sigma_t \sqrt{1 - r}, \quad b = \frac{\sqrt{\sigma_t^2 - c^2}}{\sigma_s}, \quad
    a = \alpha_t - b\, \alpha_s.$$

    Churn 1 is the paper's step (eq. 3 and 6), $a = \alpha_t (1 - r)$, $b = (\alpha_t / \alpha_s) r$,
    $c^2 = \sigma_t^2 (1 - r)$; churn 0 is the deterministic DDIM step.

    ??? cite "Reference"

        Song, Meng and Ermon, *Denoising Diffusion Implicit Models*, 2021 (arXiv 2010.02502), eq. 12 and 16.

    **Arguments:**

    - `schedule`: the noise schedule.
    - `s`, `t`: times in [0, 1], `s < t`.
    - `churn`: share of fresh noise, in [0, 1].

    **Returns:** the coefficients $(a, b, c)$.

    **Raises:** `ValueError` for a churn out of range.
    """
    check_churn(churn)
    alpha_s, sigma_s = schedule.alpha_sigma(s)
    alpha_t, sigma_t = schedule.alpha_sigma(t)
    # If the log-SNR hardly rises over a step, rounding may make it seem to fall.
    step = jnp.minimum(schedule.log_snr(s) - schedule.log_snr(t), 0.0)
    ratio, rest = jnp.exp(step), -jnp.expm1(step)
    # sigma_t^2 - c^2 = sigma_t^2 (1 - churn^2 (1 - r)), written so that nothing cancels at churn 1.
    b = sigma_t / sigma_s * _root((1 - churn**2) + churn**2 * ratio)
    return AncestralCoefficients(alpha_t - b * alpha_s, b, churn * sigma_t * _root(rest))


def check_churn(churn: float) -> None:
    """**Raises:** `ValueError` for a share of fresh noise out of [0, 1]."""
    if not 0 <= churn <= 1:
        raise ValueError(f"churn must lie in [0, 1] (0: DDIM, 1: the paper's ancestral step); got {churn}.")


def _root(x: Scalar) -> Scalar:
    """The square root, with a derivative of zero at zero."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)
