"""The ancestral step as a Diffrax term, and the sampler of equal steps of it."""

from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from .._freezable import number
from .._gaussian import AbstractGaussianModel
from .._model import AbstractModel
from .._schedules.base import AbstractNoiseSchedule
from .._types import Features, Key, Latent, Scalar
from .base import AbstractSolverSampler, check_steps, gaussian, solve_in_equal_steps


class AncestralCoefficients(NamedTuple):
    r"""The coefficients `a`, `b` and `c` of the step $z_t = a \hat u + b z_s + c \epsilon$."""

    a: Scalar
    b: Scalar
    c: Scalar


def ancestral_coefficients(
    schedule: AbstractNoiseSchedule, s: Scalar, t: Scalar, churn: float = 1.0
) -> AncestralCoefficients:
    r"""Coefficients of the step from `s` to `t` that is exact when the prediction $\hat u$ is the true embedding.

    With $r = \mathrm{SNR}(s) / \mathrm{SNR}(t)$, fresh noise of deviation $c$ replaces part of the old:

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
    """
    alpha_s, sigma_s = schedule.alpha_sigma(s)
    alpha_t, sigma_t = schedule.alpha_sigma(t)
    # Over a step in which it hardly rises, rounding may let the log-SNR seem to fall.
    step = jnp.minimum(schedule.log_snr(s) - schedule.log_snr(t), 0.0)
    ratio, rest = jnp.exp(step), -jnp.expm1(step)
    # sigma_t^2 - c^2 = sigma_t^2 (1 - churn^2 (1 - r)), written so that nothing cancels at churn 1.
    b = sigma_t / sigma_s * _root((1 - churn**2) + churn**2 * ratio)
    return AncestralCoefficients(alpha_t - b * alpha_s, b, churn * sigma_t * _root(rest))


def _root(x: Scalar) -> Scalar:
    """The square root, with a derivative of zero at zero."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)


class AncestralTerm(diffrax.AbstractTerm):
    r"""The ancestral step as a Diffrax term, for `diffrax.Euler`.

    In Diffrax a *control* belongs to an interval, and Euler's method is $y_1 = y_0 + f(t_0, y_0) \cdot
    \mathrm{control}(t_0, t_1)$. With the coefficients of the whole step as the control, and the prediction beside the
    state as the vector field, Euler's method *is* the ancestral step, exact however long the step.

    **Arguments:**

    - `model`: the model whose prediction to use.
    - `churn`: share of fresh noise, in [0, 1].
    - `key`: the fresh noise; `None` for none, which is right for churn 0 only.
    """

    model: AbstractGaussianModel
    churn: float
    key: Key | None

    def vf(self, t: Any, y: Latent, args: Features) -> tuple[Latent, Latent]:
        """The predicted embedding and the state itself."""
        return self.model.predict_embedding(jnp.asarray(t, dtype=jnp.float32), y, args), y

    def contr(self, t0: Any, t1: Any, **kwargs: Any) -> tuple[AncestralCoefficients, Latent]:
        """The coefficients of the step, and its noise, which depends on the time at which the step begins."""
        s, t = jnp.asarray(t0, dtype=jnp.float32), jnp.asarray(t1, dtype=jnp.float32)
        coefficients = ancestral_coefficients(self.model.schedule, s, t, self.churn)
        dim = self.model.embedding.dim
        if self.key is None:
            return coefficients, jnp.zeros(dim, dtype=jnp.float32)
        start = jax.lax.bitcast_convert_type(s, jnp.uint32)
        return coefficients, jr.normal(jr.fold_in(self.key, start), (dim,), jnp.float32)

    def prod(self, vf: tuple[Latent, Latent], control: tuple[AncestralCoefficients, Latent]) -> Latent:
        """The increment of the state over the step."""
        (u_hat, z), (coefficients, noise) = vf, control
        a, b, c = coefficients
        return a * u_hat + (b - 1) * z + c * noise

    def is_vf_expensive(self, t0: Any, t1: Any, y: Any, args: Any) -> bool:
        """Only multi-stage solvers ask. They would average stages of a step that is already exact, and be wrong
        without a sign of it, so they are refused here."""
        raise TypeError(
            "The ancestral step works with diffrax.Euler only, because its coefficients belong to the whole step. "
            "For Heun, Tsit5 and the like use noprop_ode.ODE(solver, ...), which integrates the probability-flow ODE."
        )


class Ancestral(AbstractSolverSampler):
    r"""Ancestral steps through the Gaussian path of DT and CT (paper, eq. 3 and 6).

    Each step is exact for a constant prediction, whatever its length, so few steps suffice. `churn` chooses how much
    of the noise is fresh at each step: 1 is the paper's ancestral step, 0 the deterministic DDIM step.
    See [`noprop_ode.ancestral_coefficients`][].

    **Arguments:**

    - `steps`: number of equal steps.
    - `churn`: share of fresh noise, in [0, 1].

    **Raises:** `ValueError` for fewer than one step, or a churn out of range.
    """

    steps: int  # pyright: ignore[reportIncompatibleVariableOverride]
    churn: float = eqx.field(default=1.0, converter=number)

    def __check_init__(self):
        check_steps(self.steps)
        if not 0 <= self.churn <= 1:
            raise ValueError(f"churn must lie in [0, 1] (0: DDIM, 1: the paper's ancestral step); got {self.churn}.")

    @property
    def stochastic(self) -> bool:
        return self.churn > 0

    @property
    def step_evaluations(self) -> tuple[float, float]:
        return 1, 0

    def check(self, model: AbstractModel) -> None:
        gaussian(model, self)

    def solve(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, t1: float = 1.0, **how: Any
    ) -> diffrax.Solution:
        term = AncestralTerm(gaussian(model, self), self.churn, key if self.stochastic else None)
        return solve_in_equal_steps(term, diffrax.Euler(), z0, features, self.steps, t1, **how)
