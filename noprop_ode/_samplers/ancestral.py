"""The ancestral step as a Diffrax term, and a sampler that takes equal ancestral steps."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from .._gaussian import AbstractGaussianModel
from .._model import AbstractModel
from .._numbers import number
from .._schedules.ancestral import AncestralCoefficients, ancestral_coefficients, check_churn
from .._types import Features, Key, Latent, Scalar
from .base import AbstractSolverSampler, as_gaussian, check_steps, solve_in_equal_steps


class AncestralTerm(diffrax.AbstractTerm):
    r"""The ancestral step as a Diffrax term, for `diffrax.Euler`.

    In Diffrax a *control* belongs to an interval, and Euler's method is $y_1 = y_0 + f(t_0, y_0) \cdot
    \mathrm{control}(t_0, t_1)$. With the coefficients of the whole step as the control, and prediction, state and time
    as the vector field, Euler's method *is* the ancestral step, exact for any step length. Other solvers are refused,
    or give NaN if they evaluate the vector field at another time than the start of the step.

    **Arguments:**

    - `model`: the model whose prediction to use.
    - `churn`: share of fresh noise, in [0, 1].
    - `key`: randomness for the fresh noise; `None` only for churn 0.

    **Raises:** `ValueError` for a churn out of range, or above 0 without a key.
    """

    model: AbstractGaussianModel
    churn: float
    key: Key | None

    def __check_init__(self):
        check_churn(self.churn)
        if self.key is None and self.churn > 0:
            raise ValueError(f"Fresh noise needs a key; got churn={self.churn} and key=None. Use churn=0 without one.")

    def vf(self, t: Any, y: Latent, args: Features) -> tuple[Latent, Latent, Scalar]:
        """The predicted embedding, the state itself, and the time."""
        t = jnp.asarray(t, dtype=jnp.float32)
        return self.model.predict_embedding(t, y, args), y, t

    def contr(self, t0: Any, t1: Any, **kwargs: Any) -> tuple[AncestralCoefficients, Latent, Scalar]:
        """The coefficients of the step, its noise, which depends on the time at which the step begins, and that
        time."""
        s, t = jnp.asarray(t0, dtype=jnp.float32), jnp.asarray(t1, dtype=jnp.float32)
        coefficients = ancestral_coefficients(self.model.schedule, s, t, self.churn)
        dim = self.model.embedding.dim
        if self.key is None:
            return coefficients, jnp.zeros(dim, dtype=jnp.float32), s
        start = jax.lax.bitcast_convert_type(s, jnp.uint32)
        return coefficients, jr.normal(jr.fold_in(self.key, start), (dim,), jnp.float32), s

    def prod(self, vf: tuple[Latent, Latent, Scalar], control: tuple[AncestralCoefficients, Latent, Scalar]) -> Latent:
        """The increment of the state over the step; NaN if the vector field is of another time than its start."""
        (u_hat, z, t), (coefficients, noise, s) = vf, control
        a, b, c = coefficients
        return jnp.where(t == s, a * u_hat + (b - 1) * z + c * noise, jnp.nan).astype(z.dtype)

    def is_vf_expensive(self, t0: Any, t1: Any, y: Any, args: Any) -> bool:
        """Only multi-stage solvers call this. They would average stages of a step that is already exact, and be
        silently wrong, so they are refused here."""
        raise TypeError(
            "The ancestral step works with diffrax.Euler only, because its coefficients belong to the whole step. "
            "For Heun, Tsit5 and the like use noprop_ode.ODE(solver, ...), which integrates the probability-flow ODE."
        )


class Ancestral(AbstractSolverSampler):
    r"""Ancestral steps through the Gaussian path of DT and CT (paper, eq. 3 and 6).

    Each step is exact for a constant prediction, whatever its length, so few steps suffice. `churn` sets how much
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
        check_churn(self.churn)

    @property
    def stochastic(self) -> bool:
        return self.churn > 0

    @property
    def step_evaluations(self) -> tuple[float, float]:
        return 1, 0

    def check(self, model: AbstractModel) -> None:
        as_gaussian(model, self)

    def solve(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, t1: float = 1.0, **how: Any
    ) -> diffrax.Solution:
        term = AncestralTerm(as_gaussian(model, self), self.churn, key if self.stochastic else None)
        return solve_in_equal_steps(term, diffrax.Euler(), z0, features, self.steps, t1, **how)
