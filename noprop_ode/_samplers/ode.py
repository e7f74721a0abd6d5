"""The ODE of a model, with any solver."""

import dataclasses
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from .._blocks import Blocks
from .._gaussian import AbstractGaussianModel
from .._model import AbstractModel, name_of
from .._schedules.grid import GridSchedule
from .._types import Features, Key, Latent
from .base import (
    AbstractSolverSampler,
    check_steps,
    evaluations_of,
    in_float32,
    solve_in_equal_steps,
    steps_until,
    takes,
)


class ODE(AbstractSolverSampler):
    """Integrates the model's ODE from noise to label with any Diffrax solver, in fixed or adaptive steps.

    The velocity of NoPropDT jumps where one block hands over to the next. Adaptive steps end there, one block after
    another, unless an event or states on the way are asked for.

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
        - `max_steps`: the largest number of adaptive steps; with a model of blocks, in each block.
        - `adjoint`: how to differentiate through the solve, which NoProp itself never does;
            `diffrax.RecursiveCheckpointAdjoint()` by default.

        **Raises:** `ValueError` unless exactly one of `steps` and `stepsize_controller` is given, for fewer than one
        step, for a controller that does not adapt, and for adaptive steps with a solver that has no error estimate;
        `TypeError` for a solver of something else than one ODE.
        """
        if not takes(solver, diffrax.ODETerm):
            raise TypeError(
                f"{name_of(solver)} does not solve ODEs of a single term. Use a solver such as diffrax.Heun() or "
                "diffrax.Tsit5(), or noprop_ode.SDE(steps, solver) with one for SDEs."
            )
        if (steps is None) == (stepsize_controller is None):
            raise ValueError(
                "Give either steps=... (equal steps) or stepsize_controller=... (adaptive steps), and not both; got "
                f"steps={steps}, stepsize_controller={stepsize_controller}."
            )
        if steps is not None:
            check_steps(steps)
        check_steps(max_steps, "max_steps")
        if isinstance(stepsize_controller, diffrax.StepTo | diffrax.ConstantStepSize):
            raise ValueError(
                f"{name_of(stepsize_controller)} takes steps that are known beforehand, and stepsize_controller=... is "
                "for adaptive ones; give steps=... for equal steps."
            )
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
        return False

    @property
    def step_evaluations(self) -> tuple[float, float]:
        return evaluations_of(self.solver)

    def check(self, model: AbstractModel) -> None:
        """Every model has an ODE, but that of blocks trained through each other is defined by Euler's steps alone, one
        per block.

        **Raises:** `TypeError` for other steps with such a model.
        """
        if not model.own_steps_only or not isinstance(model.field, Blocks):
            return
        if not isinstance(self.solver, diffrax.Euler) or self.steps != model.field.num_blocks:
            raise TypeError(
                f"{name_of(model)} is trained as one Euler step per block and defines no others; use "
                f"noprop_ode.ODE(diffrax.Euler(), steps={model.field.num_blocks})."
            )

    def solve(
        self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, t1: float = 1.0, **how: Any
    ) -> diffrax.Solution:
        del key
        if self.steps is not None:
            term, how = diffrax.ODETerm(_Velocity(model)), {"adjoint": self.adjoint, **how}
            return solve_in_equal_steps(term, self.solver, z0, features, self.steps, t1, **how)
        field, plain = model.field, t1 > 0 and how.keys() <= {"adjoint"}
        if plain and type(field) is Blocks and isinstance(model, AbstractGaussianModel) and _asks_at_its_time(model):
            return self._block_after_block(model, field, z0, features, t1, **how)
        return self._adapting(model, z0, features, in_float32(t1, None), **how)

    def _adapting(
        self, model: AbstractModel, z0: Latent, features: Features, times: dict[str, Any], **how: Any
    ) -> diffrax.Solution:
        assert self.stepsize_controller is not None
        return diffrax.diffeqsolve(
            diffrax.ODETerm(_Velocity(model)),
            self.solver,
            **times,
            y0=z0,
            args=features,
            stepsize_controller=self.stepsize_controller,
            max_steps=self.max_steps,
            throw=False,
            **{"adjoint": self.adjoint, **how},
        )

    def _block_after_block(
        self, model: AbstractGaussianModel, blocks: Blocks, z0: Latent, features: Features, t1: float, **how: Any
    ) -> diffrax.Solution:
        """A solve per block. In one solve through all of them, each image of a batch has a time, and so a block, of its
        own, whose weights `vmap` would copy for it at every evaluation."""
        count = steps_until(t1, blocks.num_blocks)
        grid = jnp.asarray([*(k / blocks.num_blocks for k in range(count)), t1], jnp.float32)

        def through(
            before: tuple[Latent, diffrax.RESULTS], k: Int[Array, ""]
        ) -> tuple[tuple[Latent, diffrax.RESULTS], tuple[diffrax.Solution, Bool[Array, ""]]]:
            z, result = before
            okay = diffrax.is_okay(result)  # after a failure nothing is left to integrate
            times = {"t0": jnp.where(okay, grid[k], grid[k + 1]), "t1": grid[k + 1], "dt0": None}
            alone = eqx.tree_at(lambda m: m.field, model, blocks.block(k))
            if isinstance(model.schedule, GridSchedule) and len(model.schedule.log_snrs) == blocks.num_blocks + 1:
                # Else the last stage of a solve, at the end of its block, has the rate of the next.
                alone = eqx.tree_at(lambda m: m.schedule, alone, model.schedule.interval(k))
            found = self._adapting(alone, z, jax.tree.map(lambda a: a[k], features), times, **how)
            assert found.ys is not None
            return (found.ys[0], diffrax.RESULTS.where(okay, found.result, result)), (found, okay)

        start = z0, diffrax.RESULTS.successful
        (_, result), (found, begun) = jax.lax.scan(through, start, jnp.arange(count))
        last = jax.tree.map(lambda a: a[-1], found)
        stats = {name: jnp.sum(value) for name, value in found.stats.items() if name != "max_steps"}
        stats = {**stats, "max_steps": self.max_steps, "num_solves": jnp.sum(begun)}
        return dataclasses.replace(last, t0=grid[0], stats=stats, result=result)


def _asks_at_its_time(model: AbstractGaussianModel) -> bool:
    """Whether it asks its field at the time of the velocity alone: of a class from elsewhere it is not known."""
    return type(model).__module__.partition(".")[0] == __name__.partition(".")[0]


class _Velocity(eqx.Module):
    """The velocity of a model as a function `(t, y, args)` for `diffrax.ODETerm`; `args` are the image features."""

    model: AbstractModel

    def __call__(self, t: Any, y: Latent, args: Features) -> Latent:
        # In the dtype of the state: with `jax_enable_x64`, a third-party network computes in double precision.
        return self.model.velocity(jnp.asarray(t, dtype=jnp.float32), y, args).astype(y.dtype)
