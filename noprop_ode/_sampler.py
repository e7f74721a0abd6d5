import diffrax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._model import AbstractGaussianModel, AbstractModel, AbstractSampler, Sample, name_of
from ._term import AncestralTerm, VelocityTerm
from ._types import Features, Key, Latent, Scalar


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

    def __init__(
        self,
        solver: diffrax.AbstractSolver,
        *,
        steps: int | None = None,
        stepsize_controller: diffrax.AbstractStepSizeController | None = None,
        max_steps: int = 4096,
    ):
        """**Arguments:**

        - `solver`: a Diffrax solver for ODEs.
        - `steps`: number of equal steps.
        - `stepsize_controller`: an adaptive controller, instead of `steps`.
        - `max_steps`: the greatest number of adaptive steps.

        **Raises:** `ValueError` unless exactly one of `steps` and `stepsize_controller` is given.
        """
        if (steps is None) == (stepsize_controller is None):
            raise ValueError(
                "Give either steps=... (equal steps) or stepsize_controller=... (adaptive steps), and not both; got "
                f"steps={steps}, stepsize_controller={stepsize_controller}."
            )
        if steps is not None:
            check_steps(steps)
        if stepsize_controller is not None and not isinstance(solver, diffrax.AbstractAdaptiveSolver):
            raise ValueError(
                f"{name_of(solver)} has no error estimate, which adaptive steps need; give steps=... instead, or a "
                "solver such as diffrax.Tsit5()."
            )
        self.solver = solver
        self.steps = steps
        self.stepsize_controller = stepsize_controller
        self.max_steps = max_steps

    @property
    def stochastic(self) -> bool:
        """See [`noprop_ode.AbstractSampler.stochastic`][]."""
        return False

    def _solve(
        self,
        model: AbstractModel,
        z0: Latent,
        features: Features,
        grid: Float[Array, " grid"],
        saveat: diffrax.SaveAt,
    ) -> diffrax.Solution:
        term = diffrax.ODETerm(VelocityTerm(model))
        controller, max_steps = self.stepsize_controller, self.max_steps
        if controller is None:
            controller, max_steps = diffrax.StepTo(grid), grid.size - 1
        return diffrax.diffeqsolve(
            term,
            self.solver,
            t0=grid[0],
            t1=grid[-1],
            dt0=None,
            y0=z0,
            args=features,
            saveat=saveat,
            stepsize_controller=controller,
            max_steps=max_steps,
            throw=False,
        )

    def sample(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, last_step: bool = True
    ) -> Sample:
        """See [`noprop_ode.AbstractSampler.sample`][]."""
        grid = time_grid(self.steps or 1)
        if self.steps is not None and not last_step:
            grid = grid[:-1]
        if grid.size == 1:
            return nowhere(z0)
        solution = self._solve(model, z0, features, grid, diffrax.SaveAt(t1=True))
        evaluations = _num_evaluations(
            self.solver, self.stepsize_controller, jnp.asarray(solution.stats["num_steps"], jnp.float32)
        )
        return Sample(grid[-1], _last(solution), evaluations, solution.result)

    def trajectory(
        self, model: AbstractModel, z0: Latent, features: Features, ts: Float[Array, " times"], *, key: Key
    ) -> Float[Array, "times dim"]:
        """See [`noprop_ode.AbstractSampler.trajectory`][]."""
        return _saved(self._solve(model, z0, features, time_grid(self.steps or 1), diffrax.SaveAt(ts=ts)))


class Ancestral(AbstractSampler):
    r"""Ancestral steps through the Gaussian path of DT and CT (paper, eq. 3 and 6).

    Each step is exact for a constant prediction, whatever its length, so few steps suffice. `churn` chooses how much
    of the noise is fresh at each step: 1 is the paper's ancestral step, 0 the deterministic DDIM step.
    See [`noprop_ode.ancestral_coefficients`][].
    """

    steps: int
    churn: float = 1.0

    def __check_init__(self):
        check_steps(self.steps)
        if not 0 <= self.churn <= 1:
            raise ValueError(f"churn must lie in [0, 1] (0: DDIM, 1: the paper's ancestral step); got {self.churn}.")

    @property
    def stochastic(self) -> bool:
        """See [`noprop_ode.AbstractSampler.stochastic`][]."""
        return self.churn > 0

    def _solve(
        self,
        model: AbstractModel,
        z0: Latent,
        features: Features,
        grid: Float[Array, " grid"],
        saveat: diffrax.SaveAt,
        key: Key,
    ) -> diffrax.Solution:
        if not isinstance(model, AbstractGaussianModel):
            raise TypeError(
                "Ancestral and DDIM steps follow the Gaussian path of NoPropDT and NoPropCT; "
                f"{name_of(model)} has none. Use noprop_ode.ODE(solver, steps=...) with it."
            )
        return diffrax.diffeqsolve(
            AncestralTerm(model, self.churn, key if self.stochastic else None),
            diffrax.Euler(),
            t0=grid[0],
            t1=grid[-1],
            dt0=None,
            y0=z0,
            args=features,
            saveat=saveat,
            stepsize_controller=diffrax.StepTo(grid),
            max_steps=grid.size - 1,
            throw=False,
        )

    def sample(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, last_step: bool = True
    ) -> Sample:
        """See [`noprop_ode.AbstractSampler.sample`][]."""
        grid = time_grid(self.steps) if last_step else time_grid(self.steps)[:-1]
        if grid.size == 1:
            return nowhere(z0)
        solution = self._solve(model, z0, features, grid, diffrax.SaveAt(t1=True), key)
        evaluations = jnp.asarray(solution.stats["num_steps"], jnp.float32)
        return Sample(grid[-1], _last(solution), evaluations, solution.result)

    def trajectory(
        self, model: AbstractModel, z0: Latent, features: Features, ts: Float[Array, " times"], *, key: Key
    ) -> Float[Array, "times dim"]:
        """See [`noprop_ode.AbstractSampler.trajectory`][]."""
        return _saved(self._solve(model, z0, features, time_grid(self.steps), diffrax.SaveAt(ts=ts), key))


def check_steps(steps: int) -> None:
    """Refuses anything but a positive integer.

    **Raises:** `ValueError`.
    """
    if isinstance(steps, bool) or steps < 1:
        raise ValueError(f"steps must be a positive integer; got {steps!r}.")


def time_grid(steps: int) -> Float[Array, " grid"]:
    """The ends of equal steps from 0 to 1, shape `[steps + 1]`."""
    return jnp.linspace(0.0, 1.0, steps + 1, dtype=jnp.float32)


def nowhere(z0: Latent) -> Sample:
    """The sample of a sampler that has not moved."""
    zero = jnp.zeros((), jnp.float32)
    return Sample(zero, z0, zero, diffrax.RESULTS.successful)


def _last(solution: diffrax.Solution) -> Latent:
    assert solution.ys is not None
    return solution.ys[0]


def _saved(solution: diffrax.Solution) -> Float[Array, "times dim"]:
    assert solution.ys is not None
    return solution.result.error_if(solution.ys, ~diffrax.is_okay(solution.result))


def _num_evaluations(
    solver: diffrax.AbstractSolver, controller: diffrax.AbstractStepSizeController | None, steps: Scalar
) -> Scalar:
    """Evaluations of the vector field in so many steps, from the solver's tableau."""
    if isinstance(solver, diffrax.Euler):
        per_step, once = 1, 0
    elif isinstance(solver, diffrax.AbstractERK) and isinstance(solver.tableau, diffrax.ButcherTableau):
        stages = solver.tableau.b_sol.size
        # First same as last: each step begins with the evaluation that ended the step before.
        per_step, once = (stages - 1, 1) if solver.tableau.fsal else (stages, 0)
    else:
        return jnp.full((), jnp.nan, jnp.float32)  # implicit solvers iterate: not known in advance
    if isinstance(controller, diffrax.PIDController):
        once += 2  # choosing the first step
    return per_step * steps + once
