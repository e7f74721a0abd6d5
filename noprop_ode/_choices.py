"""The choices of a prediction, as a model meets them: sampler, decoder, and what they hand on."""

import abc
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._types import Features, Key, Latent, LogProbs, Scalar


if TYPE_CHECKING:
    from ._model import AbstractModel  # which is above: it has predictions of its own


Start = Literal["noise", "mean"]


class Sample(eqx.Module):
    """Where a sampler arrived: the time `t` and the state `z`, the number of evaluations of the vector field
    (`num_evaluations`, NaN for a solver where it is not known in advance), and the solver's `result` code."""

    t: Scalar
    z: Latent
    num_evaluations: Scalar
    result: diffrax.RESULTS

    @property
    def z_to_learn_from(self) -> Latent:
        """The state, or NaN where the solver gave up half-way, so that no loss computed from it passes for a number."""
        return jnp.where(diffrax.is_okay(self.result), self.z, jnp.nan)


class AbstractSampler(eqx.Module):
    """How to get from $z_0$ to $z_1$."""

    @property
    @abc.abstractmethod
    def stochastic(self) -> bool:
        """Whether the sampler adds noise along the way."""

    @property
    @abc.abstractmethod
    def last_step_start(self) -> float:
        """The time at which the last of a fixed number of steps begins. An adaptive sampler does not know its last step
        in advance: 1."""

    @abc.abstractmethod
    def sample(self, model: "AbstractModel", z0: Latent, features: Features, *, key: Key, t1: float = 1.0) -> Sample:
        """Carries one state along.

        **Arguments:**

        - `model`: the model whose dynamics to follow.
        - `z0`: the state at t = 0, shape `[dim]`.
        - `features`: of the image, from `field.encode`.
        - `key`: randomness of a stochastic sampler.
        - `t1`: integrate to this time, in [0, 1]; the steps are those of the way to t = 1, the last one cut short if
            `t1` is not where one ends.

        **Returns:** the state reached, its time, the number of evaluations and the solver's result code.

        **Raises:** `TypeError` if this sampler cannot follow the dynamics of this model.
        """

    @abc.abstractmethod
    def trajectory(
        self, model: "AbstractModel", z0: Latent, features: Features, ts: Float[Array, " times"], *, key: Key
    ) -> Float[Array, "times dim"]:
        """The states at given times.

        **Arguments:** as for `sample`, and

        - `ts`: increasing times in [0, 1]; between the steps of the sampler, states are interpolated.

        **Returns:** states, shape `[times, dim]`.
        """

    @abc.abstractmethod
    def full_evaluations(self, *, t1: float = 1.0) -> float:
        """Evaluations of the vector field on a whole trajectory, before anything stops it early.

        **Arguments:** `t1`, as for `sample`. **Returns:** the number; NaN if it depends on the trajectory.
        """


class AbstractDecoder(eqx.Module):
    """Where a prediction takes its class probabilities from, once a trajectory has been run.

    `num_evaluations` says how often the decoder itself evaluates the vector field, and `follows_sampler` whether it
    reads where a sampler arrived. One that asks the network at the start alone says `False`: a sampler beside it would
    change nothing, and is not run.
    """

    num_evaluations: eqx.AbstractVar[int]
    follows_sampler: ClassVar[bool] = True

    @abc.abstractmethod
    def t1(self, sampler: AbstractSampler) -> float:
        """How far the trajectory must be run.

        **Arguments:** the `sampler` that runs it. **Returns:** the time to integrate to, in [0, 1].
        """

    @abc.abstractmethod
    def asks_at(self, sampler: AbstractSampler) -> tuple[float, ...] | None:
        """When the decoder itself evaluates the vector field. Blocks that no time of a prediction belongs to are not
        given the image.

        **Arguments:** the `sampler` that runs before. **Returns:** the times, or `None` where they are not known
        beforehand: all blocks are then given the image.
        """

    @abc.abstractmethod
    def __call__(self, model: "AbstractModel", end: Sample, features: Features) -> LogProbs:
        """Class log-probabilities from where the sampler arrived.

        **Arguments:**

        - `model`: the model.
        - `end`: the state reached and its time.
        - `features`: of the image.

        **Returns:** normalised log-probabilities, shape `[classes]`, in nats.
        """


class Prediction(NamedTuple):
    r"""The choices of a prediction: where trajectories `start` (`"noise"`, $z_0 \sim \mathcal{N}(0, I)$, or `"mean"`,
    $z_0 = 0$), the `sampler` that carries them, the `decoder` that reads the class probabilities, and the number of
    `draws` whose probabilities are averaged; with `mirror`, over the image and its mirror image too, and
    with a `shift`, over each of them moved by so many pixels towards its four corners."""

    start: Start
    sampler: AbstractSampler
    decoder: AbstractDecoder
    draws: int = 1
    mirror: bool = False
    shift: int = 0
