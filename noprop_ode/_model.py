"""What model, sampler and decoder ask of each other."""

import abc
from typing import Any, Literal, NamedTuple

import diffrax
import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ._blocks import Blocks
from ._labels.embedding import AbstractLabelEmbedding
from ._labels.readout import AbstractReadout
from ._types import Features, Image, Images, Key, Label, Labels, Latent, LogProbs, Scalar
from ._vector_field import AbstractVectorField


Start = Literal["noise", "mean"]


class LossTerms(eqx.Module):
    """The loss of a model, its terms kept apart for logging: `denoising`, `readout` and `prior`, in nats where the
    objective is a log-likelihood or its bound."""

    denoising: Float[Array, "*batch"]
    readout: Float[Array, "*batch"]
    prior: Float[Array, "*batch"]

    @property
    def total(self) -> Float[Array, "*batch"]:
        """The sum of the terms: what training minimises."""
        return self.denoising + self.readout + self.prior


class Sample(eqx.Module):
    """Where a sampler arrived: the time `t` and the state `z`, the number of evaluations of the vector field
    (`num_evaluations`, NaN for a solver where it is not known in advance), and the solver's `result` code."""

    t: Scalar
    z: Latent
    num_evaluations: Scalar
    result: diffrax.RESULTS


class AbstractModel(eqx.Module):
    """A classifier whose inference is a trajectory from noise to a label embedding.

    Everything a sampler or a decoder asks of a model is here, so that any sampler serves any variant. One example at a
    time: `jax.vmap` gives the batch.
    """

    field: eqx.AbstractVar[AbstractVectorField]
    embedding: eqx.AbstractVar[AbstractLabelEmbedding]
    readout: eqx.AbstractVar[AbstractReadout]

    @property
    @abc.abstractmethod
    def default_prediction(self) -> "Prediction":
        """How to predict where nothing else is asked for."""

    @property
    @abc.abstractmethod
    def paper_prediction(self) -> "Prediction":
        """How the paper predicts with such a model: one trajectory from a draw of noise."""

    @property
    @abc.abstractmethod
    def protocols(self) -> "dict[str, Prediction]":
        """Named ways of predicting to compare with the default, `"paper"` the last of them; none for a model that has
        one way only."""

    @property
    @abc.abstractmethod
    def independent_blocks(self) -> Blocks | None:
        """The blocks that training must keep apart, so that none depends on another through the optimiser; `None` for
        a model without any. See [`noprop_ode.blockwise`][]."""

    @abc.abstractmethod
    def loss(self, x: Image, y: Label, *, key: Key) -> LossTerms:
        """The training loss of one example.

        **Arguments:**

        - `x`: an image, `[height, width, channels]`; uint8 in [0, 255] or floating point in [0, 1].
        - `y`: its label.
        - `key`: randomness for times, noise and dropout.

        **Returns:** the terms of the loss, each a scalar.
        """

    @abc.abstractmethod
    def batch_loss(self, xs: Images, ys: Labels, *, key: Key) -> LossTerms:
        """The training loss averaged over a batch, with training times stratified over the batch.

        **Arguments:**

        - `xs`: images, `[batch, height, width, channels]`.
        - `ys`: labels, `[batch]`.
        - `key`: randomness.

        **Returns:** the mean of each term.
        """

    @abc.abstractmethod
    def velocity(self, t: Scalar, z: Latent, features: Features) -> Latent:
        """The right-hand side of the ODE that carries noise to an embedding.

        **Arguments:**

        - `t`: time in [0, 1].
        - `z`: the state, shape `[dim]`.
        - `features`: of the image, from `field.encode`.

        **Returns:** dz/dt, shape `[dim]`.
        """

    @abc.abstractmethod
    def log_posterior(self, t: Scalar, z: Latent, features: Features) -> LogProbs:
        """The class log-probabilities that the network itself holds at a point of a trajectory.

        **Arguments:** as for `velocity`.

        **Returns:** normalised log-probabilities, shape `[classes]`, in nats.
        """

    def initial_state(self, start: Start, *, key: Key) -> Latent:
        r"""Where a trajectory starts.

        **Arguments:**

        - `start`: `"noise"`, a draw $z_0 \sim \mathcal{N}(0, I)$, or `"mean"`, $z_0 = 0$.
        - `key`: randomness of the draw.

        **Returns:** the state at t = 0, shape `[dim]`.
        """
        if start == "mean":
            return jnp.zeros(self.embedding.dim, jnp.float32)
        return jr.normal(key, (self.embedding.dim,), jnp.float32)

    def __call__(self, x: Image, *, key: Key, sampler: "AbstractSampler") -> LogProbs:
        """Class log-probabilities of one image from one trajectory: a draw of noise, the sampler, the readout.

        This is the paper's protocol. A trajectory is a sample of the class, not the most probable class:
        [`noprop_ode.predict_log_proba`][] has the alternatives.

        **Arguments:**

        - `x`: an image, `[height, width, channels]`.
        - `key`: randomness for the initial noise and a stochastic sampler.
        - `sampler`: how to get from t = 0 to t = 1.

        **Returns:** normalised log-probabilities, shape `[classes]`, in nats.

        **Raises:** at run time, if the solver fails.
        """
        start_key, path_key = jr.split(key)
        z0 = self.initial_state("noise", key=start_key)
        end = sampler.sample(self, z0, self.field.encode(x), key=path_key)
        z1 = end.result.error_if(end.z, ~diffrax.is_okay(end.result))
        return self.readout(z1, self.embedding)


class AbstractMarginalModel(AbstractModel):
    """A model whose states at t = 1 have a known Gaussian distribution, given the class."""

    @abc.abstractmethod
    def end_log_posterior(self, z: Latent) -> LogProbs:
        """The exact class posterior of the known marginal at t = 1; it needs no network.

        **Arguments:**

        - `z`: the state at t = 1, shape `[dim]`.

        **Returns:** normalised log-probabilities, shape `[classes]`, in nats.
        """


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
    def sample(self, model: AbstractModel, z0: Latent, features: Features, *, key: Key, t1: float = 1.0) -> Sample:
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
        self, model: AbstractModel, z0: Latent, features: Features, ts: Float[Array, " times"], *, key: Key
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

    `num_evaluations` says how often the decoder itself evaluates the vector field.
    """

    num_evaluations: eqx.AbstractVar[int]

    @abc.abstractmethod
    def t1(self, sampler: AbstractSampler) -> float:
        """How far the trajectory must be run.

        **Arguments:** the `sampler` that runs it. **Returns:** the time to integrate to, in [0, 1].
        """

    @abc.abstractmethod
    def __call__(self, model: AbstractModel, end: Sample, features: Features) -> LogProbs:
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
    `draws` whose probabilities are averaged."""

    start: Start
    sampler: AbstractSampler
    decoder: AbstractDecoder
    draws: int = 1


def name_of(module: Any) -> str:
    """The class name of a module, for messages."""
    return type(module).__name__
