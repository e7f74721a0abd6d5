"""The interface of a model for samplers, decoders and training."""

import abc
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ._blocks import Blocks
from ._choices import AbstractSampler, Prediction, Start
from ._labels.embedding import AbstractLabelEmbedding
from ._labels.readout import AbstractReadout
from ._sizes import check_parts
from ._types import Features, Image, Images, Key, Label, Labels, Latent, LogProbs, Scalar
from ._vector_field import AbstractVectorField


class LossTerms(eqx.Module):
    """The loss of a model, with its terms kept separate for logging: `denoising`, `readout` and `prior`, in nats if
    the objective is a log-likelihood or a bound on it."""

    denoising: Float[Array, "*batch"]
    readout: Float[Array, "*batch"]
    prior: Float[Array, "*batch"]

    @property
    def total(self) -> Float[Array, "*batch"]:
        """The sum of the terms: what training minimises."""
        return self.denoising + self.readout + self.prior


class AbstractModel(eqx.Module):
    """A classifier whose inference is a trajectory from noise to a label embedding.

    It has everything that a sampler or decoder needs from a model, so a sampler works with every variant that has its
    dynamics. Methods take one example, except `batch_loss`; `jax.vmap` gives the batch. A subclass has the fields
    `field`, `embedding` and `readout`.
    """

    field: eqx.AbstractVar[AbstractVectorField]
    embedding: eqx.AbstractVar[AbstractLabelEmbedding]
    readout: eqx.AbstractVar[AbstractReadout]
    own_steps_only: ClassVar[bool] = False  # whether a trajectory can only take the steps of its network

    def __check_init__(self) -> None:
        check_parts(self.field, self.embedding, self.readout)

    @property
    @abc.abstractmethod
    def default_prediction(self) -> Prediction:
        """How to predict unless asked otherwise."""

    @property
    @abc.abstractmethod
    def paper_prediction(self) -> Prediction:
        """How the paper predicts with such a model: one trajectory from a draw of noise; the model's own way if the
        paper defines none."""

    @property
    @abc.abstractmethod
    def protocols(self) -> dict[str, Prediction]:
        """Named predictions to compare with the default, `"paper"` last; empty for a model with only one way of
        predicting."""

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
        """The training loss averaged over a batch. Models with random training times spread them evenly over the batch.

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
        - `features`: the image features, from `field.encode`.

        **Returns:** dz/dt, shape `[dim]`.
        """

    @abc.abstractmethod
    def log_posterior(self, t: Scalar, z: Latent, features: Features) -> LogProbs:
        """The class log-probabilities that the network itself assigns at a point of a trajectory.

        **Arguments:** as for `velocity`.

        **Returns:** normalised log-probabilities, shape `[classes]`, in nats.
        """

    def initial_state(self, start: Start, *, key: Key) -> Latent:
        r"""Where a trajectory starts.

        **Arguments:**

        - `start`: `"noise"`, a draw $z_0 \sim \mathcal{N}(0, I)$, or `"mean"`, $z_0 = 0$.
        - `key`: randomness for the draw.

        **Returns:** the state at t = 0, shape `[dim]`.

        **Raises:** for any other start, `TypeError`, or `ValueError` where annotations are not checked.
        """
        if start not in ("noise", "mean"):
            raise ValueError(f"Trajectories start at 'noise' or at the 'mean'; got start={start!r}.")
        if start == "mean":
            return jnp.zeros(self.embedding.dim, jnp.float32)
        return jr.normal(key, (self.embedding.dim,), jnp.float32)

    def __call__(self, x: Image, *, key: Key, sampler: AbstractSampler) -> LogProbs:
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


def name_of(module: Any) -> str:
    """The class name of a module, for messages."""
    return type(module).__name__
