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
from .._schedules.ancestral import AncestralCoefficients, ancestral_coefficients
from .._types import Features, Key, Latent
from .base import AbstractSolverSampler, as_gaussian, check_steps, solve_in_equal_steps


class AncestralTerm(diffrax.AbstractTerm):
    r"""The ancestral step as a Diffrax term, for `diffrax.Euler`.

    In Diffrax a *control* belongs to an interval, and Euler's method is $y_1 = y_0 + f(t_0, y_0) \cdot
    \mathrm{control}(t_0, t_1)$. With the coefficients of the whole step as the control, and the pair of prediction and
    state as the vector field, Euler's method *is* the ancestral step, exact for any step length.

    **Arguments:**

    - `model`: the model whose prediction to use.
    - `churn`: share of fresh noise, in [0, 1].
    - `key`: randomness for the fresh noise; `None` for no noise, which is correct only for churn 0.
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
        return (a * u_hat + (b - 1) * z + c * noise).astype(z.dtype)

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
        if not 0 <= self.churn <= 1:
            raise ValueError(f"churn must lie in [0, 1] (0: DDIM, 1: the paper's ancestral step); got {self.churn}.")

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
