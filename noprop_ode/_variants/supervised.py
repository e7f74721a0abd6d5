"""The supervised twin of a denoising model."""

import jax.nn as jnn
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._choices import Prediction
from .._labels.embedding import AbstractLabelEmbedding
from .._labels.readout import AbstractReadout, gaussian_readout
from .._model import LossTerms
from .._objectives.objective import AbstractObjective, CrossEntropy
from .._sizes import class_logits
from .._types import Features, Image, Key, Label, Latent, LogProbs, Scalar
from .._vector_field import AbstractVectorField
from .baseline import AbstractBaseline
from .protocols import one_euler_step


class Supervised(AbstractBaseline):
    r"""Plain classification with the network of a denoising model, whose state and time are always zero: what the same
    network learns from the same images when nothing is denoised.

    $$\mathcal{L} = -\log \mathrm{softmax}\big(f(0, 0, x)\big)_y$$

    The difference from its accuracy is the cost of denoising, or its gain.
    """

    field: AbstractVectorField
    embedding: AbstractLabelEmbedding
    readout: AbstractReadout
    objective: AbstractObjective

    def __init__(
        self,
        field: AbstractVectorField,
        *,
        embedding: AbstractLabelEmbedding,
        objective: AbstractObjective | None = None,
        key: Key | None = None,
    ):
        """**Arguments:**

        - `field`: the network.
        - `embedding`: label embeddings, which give the network its shapes.
        - `objective`: the error of its class logits; [`noprop_ode.CrossEntropy`][] by default. Its weighting over time
            is not used.
        - `key`: not needed by the defaults; accepted so that every variant is built alike.
        """
        del key
        self.field = field
        self.embedding = embedding
        self.readout = gaussian_readout(embedding)
        self.objective = CrossEntropy() if objective is None else objective

    @property
    def default_prediction(self) -> Prediction:
        """One evaluation of the network."""
        return one_euler_step()

    def velocity(self, t: Scalar, z: Latent, features: Features) -> Latent:
        r"""Straight to the mean embedding that the network predicts, $\hat u - z$; see
        [`noprop_ode.AbstractModel.velocity`][]."""
        return self.embedding.mix(jnp.exp(self.log_posterior(t, z, features))) - z

    def log_posterior(self, t: Scalar, z: Latent, features: Features) -> LogProbs:
        """The softmax of the network, whatever the time and the state."""
        return jnn.log_softmax(self._logits(features))

    def loss(self, x: Image, y: Label, *, key: Key) -> LossTerms:
        """The training loss of one example; the denoising term is all of it."""
        error = self.objective.error(self._logits(self.field.encode(x, key=key)), y, self.embedding)
        zero = jnp.zeros((), jnp.float32)
        return LossTerms(denoising=error, readout=zero, prior=zero)

    def _logits(self, features: Features) -> Float[Array, " classes"]:
        zero = jnp.zeros((), jnp.float32)
        return class_logits(self.field, zero, jnp.zeros(self.embedding.dim, jnp.float32), features, self.embedding)
