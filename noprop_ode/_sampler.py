from typing import Any

import diffrax

from ._gaussian import AbstractGaussianModel
from ._model import AbstractModel, AbstractSampler, name_of
from ._solver_sampler import AbstractSolverSampler, evaluations_of, solve_in_equal_steps
from ._term import AncestralTerm, VelocityTerm, generative_terms
from ._types import Features, Key, Latent


class ODE(AbstractSolverSampler):
    """Integrates the model's ODE from noise to label with any Diffrax solver, in fixed or adaptive steps.

    !!! example

        ```python
        noprop_ode.ODE(diffrax.Heun(), steps=20)
        noprop_ode.ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-3))
        ```
    """

    solver: diffrax.AbstractSolver
    steps: int | None
    stepsize_controller: diffrax.AbstractStepSizeController | None
    max_steps: int
    adjoint: diffrax.AbstractAdjoint

    def __init__(
        self,
        solver: diffrax.AbstractSolver,
        *,
        steps: int | None = None,
        stepsize_controller: diffrax.AbstractStepSizeController | None = None,
        max_steps: int = 4096,
        adjoint: diffrax.AbstractAdjoint | None = None,
    ):
        """**Arguments:**

        - `solver`: a Diffrax solver for ODEs.
        - `steps`: number of equal steps.
        - `stepsize_controller`: an adaptive controller, instead of `steps`.
        - `max_steps`: the greatest number of adaptive steps.
        - `adjoint`: how to differentiate through the solve, which NoProp itself never does;
            `diffrax.RecursiveCheckpointAdjoint()` by default.

        **Raises:** `ValueError` unless exactly one of `steps` and `stepsize_controller` is given, for fewer than one
        step, and for adaptive steps with a solver that has no error estimate.
        """
        if (steps is None) == (stepsize_controller is None):
            raise ValueError(
                "Give either steps=... (equal steps) or stepsize_controller=... (adaptive steps), and not both; got "
                f"steps={steps}, stepsize_controller={stepsize_controller}."
            )
        if steps is not None:
            _check_steps(steps)
        if stepsize_controller is not None and not isinstance(solver, diffrax.AbstractAdaptiveSolver):
            raise ValueError(
                f"{name_of(solver)} has no error estimate, which adaptive steps need; give steps=... instead, or a "
                "solver such as diffrax.Tsit5()."
            )
        self.solver = solver
        self.steps = steps
        self.stepsize_controller = stepsize_controller
        self.max_steps = max_steps
        self.adjoint = diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint

    @property
    def stochastic(self) -> bool:
        """See [`noprop_ode.AbstractSampler.stochastic`][]."""
        return False

    @property
    def step_evaluations(self) -> tuple[float, float]:
        """See [`noprop_ode.AbstractSolverSampler.step_evaluations`][]."""
        return evaluations_of(self.solver)

    def check(self, model: AbstractModel) -> None:
        """Every model has an ODE; see [`noprop_ode.AbstractSolverSampler.check`][]."""

    def solve(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, t1: float = 1.0, **how: Any
    ) -> diffrax.Solution:
        """See [`noprop_ode.AbstractSolverSampler.solve`][]."""
        del key
        term = diffrax.ODETerm(VelocityTerm(model))
        if self.stepsize_controller is None:
            assert self.steps is not None
            return solve_in_equal_steps(term, self.solver, z0, features, self.steps, t1, adjoint=self.adjoint, **how)
        return diffrax.diffeqsolve(
            term,
            self.solver,
            t0=0.0,
            t1=t1,
            dt0=None,
            y0=z0,
            args=features,
            stepsize_controller=self.stepsize_controller,
            max_steps=self.max_steps,
            adjoint=self.adjoint,
            throw=False,
            **how,
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
    churn: float = 1.0

    def __check_init__(self):
        _check_steps(self.steps)
        if not 0 <= self.churn <= 1:
            raise ValueError(f"churn must lie in [0, 1] (0: DDIM, 1: the paper's ancestral step); got {self.churn}.")

    @property
    def stochastic(self) -> bool:
        """See [`noprop_ode.AbstractSampler.stochastic`][]."""
        return self.churn > 0

    @property
    def step_evaluations(self) -> tuple[float, float]:
        """See [`noprop_ode.AbstractSolverSampler.step_evaluations`][]."""
        return 1, 0

    def check(self, model: AbstractModel) -> None:
        """See [`noprop_ode.AbstractSolverSampler.check`][]."""
        _gaussian(model, self)

    def solve(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, t1: float = 1.0, **how: Any
    ) -> diffrax.Solution:
        """See [`noprop_ode.AbstractSolverSampler.solve`][]."""
        term = AncestralTerm(_gaussian(model, self), self.churn, key if self.stochastic else None)
        return solve_in_equal_steps(term, diffrax.Euler(), z0, features, self.steps, t1, **how)


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
        _check_steps(steps)
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
        """See [`noprop_ode.AbstractSampler.stochastic`][]."""
        return True

    @property
    def step_evaluations(self) -> tuple[float, float]:
        """See [`noprop_ode.AbstractSolverSampler.step_evaluations`][]."""
        return evaluations_of(self.solver)

    def check(self, model: AbstractModel) -> None:
        """See [`noprop_ode.AbstractSolverSampler.check`][]."""
        _gaussian(model, self)

    def solve(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, t1: float = 1.0, **how: Any
    ) -> diffrax.Solution:
        """See [`noprop_ode.AbstractSolverSampler.solve`][]."""
        # Stochastic Runge-Kutta methods of higher order need space-time areas of the path, not its increments alone.
        higher = isinstance(self.solver, diffrax.AbstractSRK)
        levy_area = diffrax.SpaceTimeTimeLevyArea if higher else diffrax.BrownianIncrement
        terms = generative_terms(_gaussian(model, self), levy_area, tolerance=0.25 / self.steps, key=key)
        return solve_in_equal_steps(terms, self.solver, z0, features, self.steps, t1, **how)


def _check_steps(steps: int) -> None:
    if isinstance(steps, bool) or steps < 1:
        raise ValueError(f"steps must be a positive integer; got {steps!r}.")


def _gaussian(model: AbstractModel, sampler: AbstractSampler) -> AbstractGaussianModel:
    if isinstance(model, AbstractGaussianModel):
        return model
    raise TypeError(
        f"{name_of(sampler)} follows the Gaussian path of NoPropDT and NoPropCT; {name_of(model)} has none. Use "
        "noprop_ode.ODE(solver, steps=...) with it."
    )
