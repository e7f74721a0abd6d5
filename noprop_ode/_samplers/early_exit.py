"""A sampler that stops once the network is sure."""

from typing import Any

import diffrax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._choices import AbstractSampler, Sample
from .._gaussian import AbstractGaussianModel
from .._model import AbstractModel, name_of
from .._numbers import number
from .._schedules.ancestral import ancestral_coefficients
from .._types import Features, Key, Latent, Scalar
from .base import AbstractSolverSampler, as_sample


_BEFORE_THE_END = 1 - 2.0**-23  # in float32 too


class EarlyExit(AbstractSampler):
    r"""Another sampler, stopped as soon as the network is confident of the class.

    A Diffrax event checks the network's class posterior after every step, and ends the trajectory once its largest
    probability reaches `confidence`. From there, one long step leads to t = 1: a DDIM step, or a straight line
    for flow matching, which is where the trajectory goes if the posterior no longer changes.

    Each check costs one vector field evaluation, and is counted; [`noprop_ode.Evaluation`][] reports how many
    evaluations were saved. In a batch, the device waits for the slowest image. With a model of blocks, images that have
    stopped at different times are in different blocks, and the weights of a block are copied for each image.

    !!! example

        ```python
        noprop_ode.EarlyExit(noprop_ode.ODE(diffrax.Heun(), steps=20), confidence=0.99)
        ```
    """

    sampler: AbstractSolverSampler
    confidence: float

    def __init__(self, sampler: AbstractSolverSampler, *, confidence: float = 0.99):
        """**Arguments:**

        - `sampler`: the sampler to stop.
        - `confidence`: the class probability at which to stop, in (0, 1].

        **Raises:** `ValueError` for a confidence out of range.
        """
        if not 0 < confidence <= 1:
            raise ValueError(f"confidence is a class probability in (0, 1]; got {confidence}.")
        self.sampler = sampler
        self.confidence = number(confidence)

    @property
    def stochastic(self) -> bool:
        return self.sampler.stochastic

    @property
    def last_step_start(self) -> float:
        """Where the last step of the sampler begins. The long step counts as the last, also after adaptive steps, so
        this is always before 1."""
        return min(self.sampler.last_step_start, _BEFORE_THE_END)

    def full_evaluations(self, *, t1: float = 1.0) -> float:
        """The number of vector field evaluations on a whole trajectory: those of the sampler alone."""
        return self.sampler.full_evaluations(t1=t1)

    def sample(self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, t1: float = 1.0) -> Sample:
        """Carries one state along the dynamics of a model. If the trajectory is stopped early, the long step leads to
        t = 1; there is none to an earlier `t1`.

        **Raises:** `TypeError` for a model whose blocks only take their own steps, [`noprop_ode.Backprop`][].
        """
        if model.own_steps_only:
            raise TypeError(
                f"EarlyExit ends with one long step, and the blocks of {name_of(model)} take none but their own. Use "
                "the sampler alone."
            )
        if self.sampler.steps == 1 or t1 == 0:
            return self.sampler.sample(model, z0, features, key=key, t1=t1)
        event = diffrax.Event(self._confident(model))
        solution = self.sampler.solve(model, z0, features, key=key, t1=t1, event=event)
        per_step, once = self.sampler.step_evaluations
        # The event is also checked at the start of the trajectory.
        reached = as_sample(solution, per_step + 1, once + 1)
        if t1 < 1:
            return reached
        early = solution.event_mask
        stopped = jnp.asarray(early) & (reached.t < 1)
        # Computed for all, because `vmap` computes both branches anyway, and counted for those that take the step.
        z1 = jnp.where(stopped, _long_step(model, reached.t, reached.z, features), reached.z)
        return Sample(
            jnp.where(stopped, 1.0, reached.t).astype(jnp.float32),
            z1,
            reached.num_evaluations + stopped.astype(jnp.float32),
            reached.result,
        )

    def trajectory(
        self, model: AbstractModel, z0: Latent, features: Features, ts: Float[Array, " times"], *, key: Key
    ) -> Float[Array, "times dim"]:
        """The states at given times of the whole trajectory, without stopping."""
        return self.sampler.trajectory(model, z0, features, ts, key=key)

    def _confident(self, model: AbstractModel) -> Any:
        def look(t: Any, y: Latent, args: Features, **kwargs: Any) -> Any:
            log_p = model.log_posterior(jnp.asarray(t, jnp.float32), y, args)
            return jnp.max(log_p) >= jnp.log(jnp.asarray(self.confidence, jnp.float32))

        return look


def _long_step(model: AbstractModel, t: Scalar, z: Latent, features: Features) -> Latent:
    one = jnp.ones((), jnp.float32)
    if not isinstance(model, AbstractGaussianModel):
        return z + (one - t) * model.velocity(t, z, features)
    a, b, _ = ancestral_coefficients(model.schedule, t, one, churn=0.0)
    return a * model.predict_embedding(t, z, features) + b * z
