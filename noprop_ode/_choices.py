"""The choices of a prediction, as a model sees them: the sampler, the decoder, and what passes between them."""

import abc
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._types import Features, Key, Latent, LogProbs, Scalar


if TYPE_CHECKING:
    from ._model import AbstractModel  # which imports this module: a model has predictions


Start = Literal["noise", "mean"]


class Sample(eqx.Module):
    """Where a sampler arrived: the time `t` and the state `z`, the number of vector field evaluations
    (`num_evaluations`, NaN for a solver that does not know it in advance), and the solver's `result` code."""

    t: Scalar
    z: Latent
    num_evaluations: Scalar
    result: diffrax.RESULTS

    @property
    def z_to_learn_from(self) -> Latent:
        """The state, or NaN if the solver failed, so that any loss computed from it is NaN too."""
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
        """The time at which the last of a fixed number of steps begins; 1 for an adaptive sampler, which does not know
        its last step in advance."""

    @abc.abstractmethod
    def sample(self, model: "AbstractModel", z0: Latent, features: Features, *, key: Key, t1: float = 1.0) -> Sample:
        """Carries one state along the dynamics of a model.

        **Arguments:**

        - `model`: the model whose dynamics to follow.
        - `z0`: the state at t = 0, shape `[dim]`.
        - `features`: the image features, from `field.encode`.
        - `key`: randomness for a stochastic sampler.
        - `t1`: integrate to this time, in [0, 1]; the steps are those taken on the way to t = 1, with the last one cut
            short if `t1` falls inside it.

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
        """The number of vector field evaluations on a whole trajectory, without early stopping.

        **Arguments:** `t1`, as for `sample`. **Returns:** the number; NaN if it depends on the trajectory.
        """


class AbstractDecoder(eqx.Module):
    """Where a prediction takes its class probabilities from, once a trajectory has been run.

    `num_evaluations` says how often the decoder itself evaluates the vector field, and `follows_sampler` whether it
    uses the state that a sampler reached. It is `False` for a decoder that evaluates the network only at the start: a
    sampler would change nothing, and is not run.
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
        """The times at which the decoder itself evaluates the vector field. Blocks that own none of the times of a
        prediction do not encode the image.

        **Arguments:** the `sampler` that runs before. **Returns:** the times, or `None` if they are not known in
        advance; all blocks then encode the image.
        """

    @abc.abstractmethod
    def __call__(self, model: "AbstractModel", end: Sample, features: Features) -> LogProbs:
        """Class log-probabilities from where the sampler arrived.

        **Arguments:**

        - `model`: the model.
        - `end`: the state reached and its time.
        - `features`: the image features.

        **Returns:** normalised log-probabilities, shape `[classes]`, in nats.
        """


class Prediction(NamedTuple):
    r"""The choices of a prediction: where trajectories `start` (`"noise"`, $z_0 \sim \mathcal{N}(0, I)$, or `"mean"`,
    $z_0 = 0$), the `sampler` that carries them, the `decoder` that reads the class probabilities, and the number of
    `draws` whose probabilities are averaged. With `mirror`, the average is also over the image and its mirror image,
    and with a `shift`, also over copies of each, moved by that many pixels towards the four corners."""

    start: Start
    sampler: AbstractSampler
    decoder: AbstractDecoder
    draws: int = 1
    mirror: bool = False
    shift: int = 0
