"""The paper's baselines: the same networks, trained through the whole chain of steps."""

from typing import ClassVar

import diffrax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from .._blocks import Blocks
from .._choices import AbstractSampler, Prediction
from .._labels.embedding import AbstractLabelEmbedding
from .._labels.readout import AbstractReadout, at_label, gaussian_readout
from .._model import LossTerms
from .._prediction.decoder import ReadoutDecoder
from .._samplers.ode import ODE
from .._sizes import class_logits
from .._types import Features, Image, Key, Label, Latent, LogProbs, Scalar
from .._vector_field import AbstractVectorField
from .baseline import AbstractBaseline


class Backprop(AbstractBaseline):
    r"""The paper's back-propagation baseline (eq. 17 to 19): the blocks of NoProp-DT as a residual network, trained end
    to end on the cross-entropy of its output.

    $$z_k = (1 - a_k)\, z_{k-1} + a_k\, \hat u_k(z_{k-1}, x), \quad a_k = \tanh(w_k), \quad z_0 \sim
    \mathcal{N}(0, I)$$
    """

    field: Blocks
    embedding: AbstractLabelEmbedding
    readout: AbstractReadout
    own_steps_only: ClassVar[bool] = True
    gates: Float[Array, " blocks"]

    def __init__(
        self,
        blocks: Blocks,
        *,
        embedding: AbstractLabelEmbedding,
        readout: AbstractReadout | None = None,
        key: Key | None = None,
    ):
        """**Arguments:**

        - `blocks`: the networks.
        - `embedding`: label embeddings.
        - `readout`: from the last state to classes; a linear one by default, initialised by
            [`noprop_ode.gaussian_readout`][].
        - `key`: not needed by the defaults; accepted so that every variant is built alike.
        """
        del key
        self.field = blocks  # pyright: ignore[reportIncompatibleVariableOverride]
        self.embedding = embedding
        self.readout = gaussian_readout(embedding) if readout is None else readout
        self.gates = jnp.full(blocks.num_blocks, 0.5, jnp.float32)

    @property
    def default_prediction(self) -> Prediction:
        """T Euler steps from noise, and the readout."""
        return Prediction("noise", ODE(diffrax.Euler(), steps=self.field.num_blocks), ReadoutDecoder())

    def velocity(self, t: Scalar, z: Latent, features: Features) -> Latent:
        r"""T times the change of the state over a block, so that T Euler steps, `ODE(diffrax.Euler(), steps=T)`,
        reproduce the network; see [`noprop_ode.AbstractModel.velocity`][]."""
        k = self.field.owner(t)
        u_hat = self.embedding.mix(jnn.softmax(class_logits(self.field, t, z, features, self.embedding)))
        return self.field.num_blocks * jnp.tanh(self.gates[k]) * (u_hat - z)

    def log_posterior(self, t: Scalar, z: Latent, features: Features) -> LogProbs:
        """The softmax of the block that owns the time."""
        return jnn.log_softmax(class_logits(self.field, t, z, features, self.embedding))

    def loss(self, x: Image, y: Label, *, key: Key) -> LossTerms:
        """The training loss of one example; the readout term is all of it."""
        start_key, encode_key = jr.split(key)
        z = jr.normal(start_key, (self.embedding.dim,), jnp.float32)
        keys = jr.split(encode_key, self.field.num_blocks)
        for k in range(self.field.num_blocks):
            block = self.field.block(k)
            t = jnp.asarray(k / self.field.num_blocks, jnp.float32)
            features = block.encode(x, key=keys[k])
            u_hat = self.embedding.mix(jnn.softmax(class_logits(block, t, z, features, self.embedding)))
            gate = jnp.tanh(self.gates[k])
            z = (1 - gate) * z + gate * u_hat
        return _cross_entropy(self.readout(z, self.embedding), y)


class AdjointODE(AbstractBaseline):
    """The paper's adjoint baseline: the network of NoProp-CT as the right-hand side of a neural ODE, trained on the
    cross-entropy at its end, through the solver.

    ??? cite "Reference"

        Chen, Rubanova, Bettencourt and Duvenaud, *Neural Ordinary Differential Equations*, 2018 (arXiv 1806.07366).
    """

    field: AbstractVectorField
    embedding: AbstractLabelEmbedding
    readout: AbstractReadout
    sampler: AbstractSampler

    def __init__(
        self,
        field: AbstractVectorField,
        *,
        embedding: AbstractLabelEmbedding,
        readout: AbstractReadout | None = None,
        sampler: AbstractSampler | None = None,
        key: Key | None = None,
    ):
        """**Arguments:**

        - `field`: the network; the embeddings weighted by its raw logits are the velocity.
        - `embedding`: label embeddings.
        - `readout`: from the last state to classes; a linear one by default, initialised by
            [`noprop_ode.gaussian_readout`][].
        - `sampler`: the solver used in training, whose `adjoint` says how to differentiate through it; 20 Heun steps
            with `diffrax.RecursiveCheckpointAdjoint` by default (the paper takes 1000 steps).
        - `key`: not needed by the defaults; accepted so that every variant is built alike.
        """
        del key
        self.field = field
        self.embedding = embedding
        self.readout = gaussian_readout(embedding) if readout is None else readout
        self.sampler = ODE(diffrax.Heun(), steps=20) if sampler is None else sampler

    @property
    def default_prediction(self) -> Prediction:
        """The sampler used in training, from noise, and the readout."""
        return Prediction("noise", self.sampler, ReadoutDecoder())

    def velocity(self, t: Scalar, z: Latent, features: Features) -> Latent:
        r"""The output of the network; see [`noprop_ode.AbstractModel.velocity`][].

        It is not $\hat u - z$ with $\hat u$ in the simplex of the embeddings: over one unit of time, that leaves
        $e^{-1}$ of the noise against at most $1 - e^{-1}$ of an embedding, and bounds the accuracy well below one.
        """
        return self.embedding.mix(class_logits(self.field, t, z, features, self.embedding))

    def log_posterior(self, t: Scalar, z: Latent, features: Features) -> LogProbs:
        """The readout at the end of the line through the state."""
        return self.readout(z + (1 - t) * self.velocity(t, z, features), self.embedding)

    def loss(self, x: Image, y: Label, *, key: Key) -> LossTerms:
        """The training loss of one example; the readout term is all of it."""
        start_key, encode_key, path_key = jr.split(key, 3)
        z0 = jr.normal(start_key, (self.embedding.dim,), jnp.float32)
        end = self.sampler.sample(self, z0, self.field.encode(x, key=encode_key), key=path_key)
        return _cross_entropy(self.readout(end.z_to_learn_from, self.embedding), y)


def _cross_entropy(log_p: LogProbs, y: Label) -> LossTerms:
    zero = jnp.zeros((), jnp.float32)
    return LossTerms(denoising=zero, readout=-at_label(log_p, y), prior=zero)
