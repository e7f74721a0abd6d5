from typing import Any

import diffrax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._model import AbstractGaussianModel, AbstractModel, AbstractSampler, Sample, name_of
from ._term import AncestralTerm, VelocityTerm, generative_terms
from ._types import Features, Key, Latent


class ODE(AbstractSampler):
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

    def _solve(self, model: AbstractModel, z0: Latent, features: Features, **how: Any) -> diffrax.Solution:
        term = diffrax.ODETerm(VelocityTerm(model))
        if self.steps is not None:
            return _fixed_steps(term, self.solver, z0, features, self.steps, adjoint=self.adjoint, **how)
        assert self.stepsize_controller is not None
        how.pop("last_step", None)
        return diffrax.diffeqsolve(
            term,
            self.solver,
            t0=0.0,
            t1=1.0,
            dt0=None,
            y0=z0,
            args=features,
            stepsize_controller=self.stepsize_controller,
            max_steps=self.max_steps,
            adjoint=self.adjoint,
            throw=False,
            **how,
        )

    def sample(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, last_step: bool = True
    ) -> Sample:
        """See [`noprop_ode.AbstractSampler.sample`][]."""
        if self.steps == 1 and not last_step:
            return _start(z0)
        solution = self._solve(model, z0, features, last_step=last_step)
        per_step, once = _evaluations(self.solver)
        return _end(solution, per_step, once)

    def trajectory(
        self, model: AbstractModel, z0: Latent, features: Features, ts: Float[Array, " times"], *, key: Key
    ) -> Float[Array, "times dim"]:
        """See [`noprop_ode.AbstractSampler.trajectory`][]."""
        return _saved(self._solve(model, z0, features, saveat=diffrax.SaveAt(ts=ts)))


class Ancestral(AbstractSampler):
    r"""Ancestral steps through the Gaussian path of DT and CT (paper, eq. 3 and 6).

    Each step is exact for a constant prediction, whatever its length, so few steps suffice. `churn` chooses how much
    of the noise is fresh at each step: 1 is the paper's ancestral step, 0 the deterministic DDIM step.
    See [`noprop_ode.ancestral_coefficients`][].

    **Arguments:**

    - `steps`: number of equal steps.
    - `churn`: share of fresh noise, in [0, 1].

    **Raises:** `ValueError` for fewer than one step, or a churn out of range.
    """

    steps: int
    churn: float = 1.0

    def __check_init__(self):
        _check_steps(self.steps)
        if not 0 <= self.churn <= 1:
            raise ValueError(f"churn must lie in [0, 1] (0: DDIM, 1: the paper's ancestral step); got {self.churn}.")

    @property
    def stochastic(self) -> bool:
        """See [`noprop_ode.AbstractSampler.stochastic`][]."""
        return self.churn > 0

    def _solve(self, model: AbstractModel, z0: Latent, features: Features, key: Key, **how: Any) -> diffrax.Solution:
        gaussian = _gaussian(model, self)
        term = AncestralTerm(gaussian, self.churn, key if self.stochastic else None)
        return _fixed_steps(term, diffrax.Euler(), z0, features, self.steps, **how)

    def sample(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, last_step: bool = True
    ) -> Sample:
        """See [`noprop_ode.AbstractSampler.sample`][]."""
        _gaussian(model, self)
        if self.steps == 1 and not last_step:
            return _start(z0)
        return _end(self._solve(model, z0, features, key, last_step=last_step), 1)

    def trajectory(
        self, model: AbstractModel, z0: Latent, features: Features, ts: Float[Array, " times"], *, key: Key
    ) -> Float[Array, "times dim"]:
        """See [`noprop_ode.AbstractSampler.trajectory`][]."""
        return _saved(self._solve(model, z0, features, key, saveat=diffrax.SaveAt(ts=ts)))


class SDE(AbstractSampler):
    r"""Integrates the generative SDE of DT and CT in equal steps:

    $$dz = \lambda'(t) \left[\alpha \hat u - \tfrac{1}{2} (1 + \alpha^2) z\right] dt +
    \sqrt{\lambda'(t)}\, \sigma\, dW.$$

    It is the limit of the paper's ancestral steps as their number grows. The noise is additive, so higher-order
    solvers such as `diffrax.ShARK()` work beside the Euler-Maruyama method, `diffrax.Euler()`.
    """

    steps: int
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
        self.steps = steps
        self.solver = solver

    @property
    def stochastic(self) -> bool:
        """See [`noprop_ode.AbstractSampler.stochastic`][]."""
        return True

    def _solve(self, model: AbstractModel, z0: Latent, features: Features, key: Key, **how: Any) -> diffrax.Solution:
        # Stochastic Runge-Kutta methods of higher order need space-time areas of the path, not its increments alone.
        higher = isinstance(self.solver, diffrax.AbstractSRK)
        levy_area = diffrax.SpaceTimeTimeLevyArea if higher else diffrax.BrownianIncrement
        terms = generative_terms(_gaussian(model, self), levy_area, tolerance=0.25 / self.steps, key=key)
        return _fixed_steps(terms, self.solver, z0, features, self.steps, **how)

    def sample(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, last_step: bool = True
    ) -> Sample:
        """See [`noprop_ode.AbstractSampler.sample`][]."""
        _gaussian(model, self)
        if self.steps == 1 and not last_step:
            return _start(z0)
        return _end(self._solve(model, z0, features, key, last_step=last_step), *_evaluations(self.solver))

    def trajectory(
        self, model: AbstractModel, z0: Latent, features: Features, ts: Float[Array, " times"], *, key: Key
    ) -> Float[Array, "times dim"]:
        """See [`noprop_ode.AbstractSampler.trajectory`][]."""
        return _saved(self._solve(model, z0, features, key, saveat=diffrax.SaveAt(ts=ts)))


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


def _fixed_steps(
    terms: Any,
    solver: diffrax.AbstractSolver,
    z0: Latent,
    features: Features,
    steps: int,
    *,
    last_step: bool = True,
    saveat: diffrax.SaveAt | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
) -> diffrax.Solution:
    taken = steps if last_step else steps - 1
    return diffrax.diffeqsolve(
        terms,
        solver,
        t0=0.0,
        t1=taken / steps,
        dt0=1 / steps,
        y0=z0,
        args=features,
        saveat=diffrax.SaveAt(t1=True) if saveat is None else saveat,
        max_steps=taken,
        adjoint=diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint,
        throw=False,
    )


def _start(z0: Latent) -> Sample:
    zero = jnp.zeros((), jnp.float32)
    return Sample(zero, z0, zero, diffrax.RESULTS.successful)


def _end(solution: diffrax.Solution, per_step: float, once: float = 0) -> Sample:
    assert solution.ys is not None and solution.ts is not None
    steps = jnp.asarray(solution.stats["num_steps"], jnp.float32)
    t = jnp.asarray(solution.ts[0], jnp.float32)
    return Sample(t, solution.ys[0], per_step * steps + once, solution.result)


def _saved(solution: diffrax.Solution) -> Float[Array, "times dim"]:
    assert solution.ys is not None
    return solution.result.error_if(solution.ys, ~diffrax.is_okay(solution.result))


def _evaluations(solver: diffrax.AbstractSolver) -> tuple[float, float]:
    """Evaluations of the vector field in each step, and once for all, from the tableau of the solver."""
    if isinstance(solver, diffrax.Euler):
        return 1, 0
    if isinstance(solver, diffrax.AbstractERK) and isinstance(solver.tableau, diffrax.ButcherTableau):
        stages = solver.tableau.b_sol.size
        # First same as last: each step begins with the evaluation that ended the step before.
        return (stages - 1, 1) if solver.tableau.fsal else (stages, 0)
    if isinstance(solver, diffrax.AbstractSRK):
        return solver.tableau.b_sol.size, 0
    return float("nan"), 0  # implicit solvers iterate: not known in advance
