"""The generative SDE, in equal steps."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx

from .._gaussian import AbstractGaussianModel
from .._model import AbstractModel, name_of
from .._types import Features, Key, Latent
from .base import AbstractSolverSampler, as_gaussian, check_steps, evaluations_of, solve_in_equal_steps, takes


class SDE(AbstractSolverSampler):
    r"""Integrates the generative SDE of DT and CT in equal steps:

    $$dz = \lambda'(t) \left[\alpha \hat u - \tfrac{1}{2} (1 + \alpha^2) z\right] dt +
    \sqrt{\lambda'(t)}\, \sigma\, dW.$$

    It is the limit of the paper's ancestral steps as their number grows. The noise is additive, so not only the
    Euler-Maruyama method, `diffrax.Euler()`, but also higher-order solvers such as `diffrax.ShARK()` work.
    """

    steps: int  # pyright: ignore[reportIncompatibleVariableOverride]
    solver: diffrax.AbstractSolver

    def __init__(self, steps: int, solver: diffrax.AbstractSolver | None = None):
        """**Arguments:**

        - `steps`: number of equal steps.
        - `solver`: a Diffrax solver for SDEs with additive noise; Euler-Maruyama by default.

        **Raises:** `ValueError` for fewer than one step, `TypeError` for a solver that only solves ODEs, or SDEs of
        another form.
        """
        check_steps(steps)
        solver = diffrax.Euler() if solver is None else solver
        of_sdes = isinstance(solver, (diffrax.AbstractItoSolver, diffrax.AbstractStratonovichSolver))
        if not of_sdes or not takes(solver, diffrax.ODETerm, diffrax.ControlTerm):
            raise TypeError(
                f"{name_of(solver)} does not solve SDEs of drift and noise. Use diffrax.Euler(), diffrax.ShARK() or "
                "diffrax.SRA1(), or noprop_ode.ODE with this solver."
            )
        self.steps = steps  # pyright: ignore[reportIncompatibleVariableOverride]
        self.solver = solver

    @property
    def stochastic(self) -> bool:
        return True

    @property
    def step_evaluations(self) -> tuple[float, float]:
        return evaluations_of(self.solver)

    def check(self, model: AbstractModel) -> None:
        as_gaussian(model, self)

    def solve(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, t1: float = 1.0, **how: Any
    ) -> diffrax.Solution:
        # Stochastic Runge-Kutta methods of higher order need space-time areas of the path, not only its increments.
        higher = isinstance(self.solver, diffrax.AbstractSRK)
        levy_area = diffrax.SpaceTimeTimeLevyArea if higher else diffrax.BrownianIncrement
        terms = generative_terms(as_gaussian(model, self), levy_area, key=key)
        return solve_in_equal_steps(terms, self.solver, z0, features, self.steps, t1, **how)


class _Increments(diffrax.AbstractBrownianPath):
    """Independent increments, one per step. Diffrax's own path is made only when evaluated: an adjoint that may run a
    step twice refuses terms that hold it, although equal times have equal increments."""

    shape: jax.ShapeDtypeStruct = eqx.field(static=True)
    levy_area: Any = eqx.field(static=True)
    key: Key

    @property
    def t0(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return -jnp.inf

    @property
    def t1(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return jnp.inf

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True, use_levy: bool = False) -> Any:
        path = diffrax.UnsafeBrownianPath(self.shape, self.key, levy_area=self.levy_area)
        return path.evaluate(t0, t1, left, use_levy)


def generative_terms(
    model: AbstractGaussianModel, levy_area: Any, *, key: Key
) -> diffrax.MultiTerm[tuple[diffrax.ODETerm, diffrax.ControlTerm]]:
    """The drift and the noise of the generative SDE; see [`noprop_ode.SDE`][].

    **Arguments:**

    - `model`: a Gaussian model.
    - `levy_area`: what the solver needs to know about the Brownian path, a Diffrax type.
    - `key`: randomness for the Brownian path.

    **Returns:** terms for `diffrax.diffeqsolve`.
    """
    dim = model.embedding.dim
    shape = jax.ShapeDtypeStruct((dim,), jnp.float32)
    # Each step asks for its own increment once, so the path need not remember. One that does checks its times by a
    # host callback, with which nothing can be exported.
    path = _Increments(shape, levy_area, key)

    def drift(t: Any, y: Latent, args: Features) -> Latent:
        return model.generative_drift(jnp.asarray(t, dtype=jnp.float32), y, args).astype(y.dtype)

    def diffusion(t: Any, y: Latent, args: Features) -> lx.DiagonalLinearOperator:
        deviation = model.diffusion(jnp.asarray(t, dtype=jnp.float32)).astype(y.dtype)
        return lx.DiagonalLinearOperator(jnp.full((dim,), deviation))

    return diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(diffusion, path))
