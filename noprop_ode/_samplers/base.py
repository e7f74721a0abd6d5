"""A sampler that is one Diffrax solve."""

import abc
import math
import typing
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._choices import AbstractSampler, Sample
from .._gaussian import AbstractGaussianModel
from .._model import AbstractModel, name_of
from .._types import Features, Key, Latent


class AbstractSolverSampler(AbstractSampler):
    """A sampler that is one Diffrax solve; `steps` is its number of equal steps, `None` for adaptive ones."""

    steps: eqx.AbstractVar[int | None]

    @abc.abstractmethod
    def solve(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, t1: float = 1.0, **how: Any
    ) -> diffrax.Solution:
        """Runs the solver.

        **Arguments:** as for [`noprop_ode.AbstractSampler.sample`][], and `saveat`, `event` and
        `adjoint` of `diffrax.diffeqsolve`.

        **Returns:** the solution.
        """

    @property
    @abc.abstractmethod
    def step_evaluations(self) -> tuple[float, float]:
        """Vector field evaluations per step, and once per solve."""

    @property
    def last_step_start(self) -> float:
        return 1.0 if self.steps is None else (self.steps - 1) / self.steps

    def sample(self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, t1: float = 1.0) -> Sample:
        self.check(model)
        if not 0 <= t1 <= 1:
            raise ValueError(f"A trajectory ends at a time t1 in [0, 1]; got {t1}.")
        if t1 == 0:
            zero = jnp.zeros((), jnp.float32)
            return Sample(zero, z0, zero, diffrax.RESULTS.successful)
        return as_sample(self.solve(model, z0, features, key=key, t1=t1), *self.step_evaluations)

    def trajectory(
        self, model: AbstractModel, z0: Latent, features: Features, ts: Float[Array, " times"], *, key: Key
    ) -> Float[Array, "times dim"]:
        self.check(model)
        solution = self.solve(model, z0, features, key=key, saveat=diffrax.SaveAt(ts=ts))
        assert solution.ys is not None
        return solution.result.error_if(solution.ys, ~diffrax.is_okay(solution.result))

    def full_evaluations(self, *, t1: float = 1.0) -> float:
        if t1 == 0:
            return 0.0
        if self.steps is None:
            return float("nan")
        per_step, once = self.step_evaluations
        taken = steps_until(t1, self.steps)
        return per_step * taken + once

    @abc.abstractmethod
    def check(self, model: AbstractModel) -> None:
        """Refuses a model whose dynamics this sampler cannot follow.

        **Raises:** `TypeError`.
        """


def solve_in_equal_steps(
    terms: Any,
    solver: diffrax.AbstractSolver,
    z0: Latent,
    features: Features,
    steps: int,
    t1: float,
    **how: Any,
) -> diffrax.Solution:
    """A solve in equal steps of 1 / `steps`, up to `t1`; the last is cut short if `t1` falls inside it."""
    taken, dt0 = steps_until(t1, steps), 1 / steps
    if abs(t1 * steps - taken) > 1e-6:  # Diffrax itself would make all steps but the first a little shorter
        ends = jnp.asarray([*(k / steps for k in range(taken)), t1], jnp.float32)
        dt0, how = None, {**how, "stepsize_controller": diffrax.StepTo(ends)}
    return diffrax.diffeqsolve(
        terms,
        solver,
        **in_float32(t1, dt0),
        y0=z0,
        args=features,
        max_steps=taken,
        throw=False,
        **how,
    )


def in_float32(t1: float, dt0: float | None) -> dict[str, Any]:
    """Start, end and first step for Diffrax, in the dtype of the state: with `jax_enable_x64`, Python numbers would
    make them, and with them the state, float64. Without it they stay Python numbers, which Diffrax checks at once;
    others it checks by a host callback, with which nothing can be exported."""
    kind = np.float32 if jax.config.read("jax_enable_x64") else float
    return {"t0": kind(0), "t1": kind(t1), "dt0": None if dt0 is None else kind(dt0)}


def steps_until(t1: float, steps: int) -> int:
    """How many of `steps` equal steps begin before a time."""
    return math.ceil(t1 * steps - 1e-6)  # below any step, and above the rounding of the product


def as_sample(solution: diffrax.Solution, per_step: float, once: float) -> Sample:
    """Where a solution arrived that saved only its end."""
    assert solution.ys is not None and solution.ts is not None
    steps = jnp.asarray(solution.stats["num_steps"], jnp.float32)
    solves = jnp.asarray(solution.stats.get("num_solves", 1), jnp.float32)  # one per block, perhaps
    t = jnp.asarray(solution.ts[0], jnp.float32)
    return Sample(t, solution.ys[0], per_step * steps + once * solves, solution.result)


def evaluations_of(solver: diffrax.AbstractSolver) -> tuple[float, float]:
    """Vector field evaluations per step, and once per solve, from the tableau of the solver."""
    if isinstance(solver, diffrax.Euler):
        return 1, 0
    if isinstance(solver, diffrax.AbstractERK) and isinstance(solver.tableau, diffrax.ButcherTableau):
        stages = solver.tableau.b_sol.size
        # First same as last: each step begins with the evaluation that ended the previous step.
        return (stages - 1, 1) if solver.tableau.fsal else (stages, 0)
    if isinstance(solver, diffrax.AbstractSRK):
        ignored = solver.tableau.ignore_stage_f  # such a stage involves only the noise
        return solver.tableau.b_sol.size - (0 if ignored is None else int(np.sum(ignored))), 0
    return float("nan"), 0  # implicit solvers iterate: not known in advance


def check_steps(steps: int, name: str = "steps") -> None:
    """**Raises:** `ValueError` for fewer than one step."""
    if isinstance(steps, bool) or steps < 1:
        raise ValueError(f"{name} must be a positive integer; got {steps!r}.")


def takes(solver: diffrax.AbstractSolver, *terms: type[diffrax.AbstractTerm]) -> bool:
    """Whether a solver can integrate the sum of terms of these kinds."""
    structure = solver.term_structure
    if typing.get_origin(structure) is not diffrax.MultiTerm:
        return _admits(structure, diffrax.ODETerm if len(terms) == 1 else diffrax.MultiTerm)
    (parts,) = typing.get_args(structure)
    parts = typing.get_args(parts)
    return len(parts) == len(terms) and all(map(_admits, parts, terms))


def _admits(structure: Any, term: type[diffrax.AbstractTerm]) -> bool:
    structure = typing.get_origin(structure) or structure
    return isinstance(structure, type) and issubclass(term, structure)


def as_gaussian(model: AbstractModel, sampler: AbstractSampler) -> AbstractGaussianModel:
    """**Raises:** `TypeError` for a model without a Gaussian path."""
    if isinstance(model, AbstractGaussianModel):
        return model
    raise TypeError(
        f"{name_of(sampler)} follows the Gaussian path of NoPropDT and NoPropCT; {name_of(model)} has none. Use "
        "noprop_ode.ODE(solver, steps=...) with it."
    )
