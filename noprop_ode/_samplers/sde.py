"""The generative SDE, in equal steps."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import lineax as lx

from .._gaussian import AbstractGaussianModel
from .._model import AbstractModel, name_of
from .._types import Features, Key, Latent
from .base import AbstractSolverSampler, check_steps, evaluations_of, gaussian, solve_in_equal_steps


class SDE(AbstractSolverSampler):
    r"""Integrates the generative SDE of DT and CT in equal steps:

    $$dz = \lambda'(t) \left[\alpha \hat u - \tfrac{1}{2} (1 + \alpha^2) z\right] dt +
    \sqrt{\lambda'(t)}\, \sigma\, dW.$$

    It is the limit of the paper's ancestral steps as their number grows. The noise is additive, so higher-order
    solvers such as `diffrax.ShARK()` work beside the Euler-Maruyama method, `diffrax.Euler()`.
    """

    steps: int  # pyright: ignore[reportIncompatibleVariableOverride]
    solver: diffrax.AbstractSolver

    def __init__(self, steps: int, solver: diffrax.AbstractSolver | None = None):
        """**Arguments:**

        - `steps`: number of equal steps.
        - `solver`: a Diffrax solver for SDEs with additive noise; Euler-Maruyama by default.

        **Raises:** `ValueError` for fewer than one step, `TypeError` for a solver that only does ODEs.
        """
        check_steps(steps)
        solver = diffrax.Euler() if solver is None else solver
        if not isinstance(solver, (diffrax.AbstractItoSolver, diffrax.AbstractStratonovichSolver)):
            raise TypeError(
                f"{name_of(solver)} does not solve SDEs. Use diffrax.Euler(), diffrax.ShARK() or diffrax.SRA1(), or "
                "noprop_ode.ODE with this solver."
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
        gaussian(model, self)

    def solve(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, t1: float = 1.0, **how: Any
    ) -> diffrax.Solution:
        # Stochastic Runge-Kutta methods of higher order need space-time areas of the path, not its increments alone.
        higher = isinstance(self.solver, diffrax.AbstractSRK)
        levy_area = diffrax.SpaceTimeTimeLevyArea if higher else diffrax.BrownianIncrement
        terms = generative_terms(gaussian(model, self), levy_area, tolerance=0.25 / self.steps, key=key)
        return solve_in_equal_steps(terms, self.solver, z0, features, self.steps, t1, **how)


def generative_terms(
    model: AbstractGaussianModel, levy_area: Any, *, tolerance: float, key: Key
) -> diffrax.MultiTerm[tuple[diffrax.ODETerm, diffrax.ControlTerm]]:
    """The drift and the noise of the generative SDE; see [`noprop_ode.SDE`][].

    **Arguments:**

    - `model`: a Gaussian model.
    - `levy_area`: what the solver must know of the Brownian path, a Diffrax type.
    - `tolerance`: resolution of the Brownian path, below the length of a step.
    - `key`: the Brownian path.

    **Returns:** terms for `diffrax.diffeqsolve`.
    """
    dim = model.embedding.dim
    shape = jax.ShapeDtypeStruct((dim,), jnp.float32)
    path = diffrax.VirtualBrownianTree(0.0, 1.0, tol=tolerance, shape=shape, key=key, levy_area=levy_area)

    def drift(t: Any, y: Latent, args: Features) -> Latent:
        return model.generative_drift(jnp.asarray(t, dtype=jnp.float32), y, args)

    def diffusion(t: Any, y: Latent, args: Features) -> lx.DiagonalLinearOperator:
        return lx.DiagonalLinearOperator(jnp.full((dim,), model.diffusion(jnp.asarray(t, dtype=jnp.float32))))

    return diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(diffusion, path))
