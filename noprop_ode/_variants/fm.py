"""NoProp as flow matching."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from .._check import check_states_per_image
from .._choices import Prediction
from .._labels.embedding import AbstractLabelEmbedding
from .._labels.readout import AbstractReadout, NearestEmbedding
from .._model import AbstractMarginalModel, LossTerms
from .._numbers import number
from .._objectives.times import AbstractTimes, UniformTimes
from .._sizes import class_logits
from .._trainable import trainable_mask
from .._types import Features, Image, Key, Label, Latent, LogProbs, Scalar
from .._vector_field import AbstractVectorField
from .protocols import few_euler_draws, flow_protocols
from .timed import AbstractTimedModel


class NoPropFM(AbstractTimedModel, AbstractMarginalModel):
    r"""NoProp as flow matching (NoProp, arXiv 2503.24322, section 2.3): a velocity along straight lines.

    $$z_t = t\, u_y + (1 - t)\, z_0 + \sigma \epsilon, \quad z_0 \sim \mathcal{N}(0, I), \quad
    t \sim \mathcal{U}(0, 1)$$

    $$\mathcal{L} = \left\|\hat v(z_t, x, t) - (u_y - z_0)\right\|^2 \tag{11}$$

    The raw logits of the network weight the embeddings, $\hat v = W^\top \mathrm{logits}$, without a softmax, because
    a velocity is not an average of embeddings. Learned embeddings would collapse under this loss alone; an anchor
    keeps them apart by reading the class from the extrapolated end of the line (eq. 13):

    $$\mathcal{L} + \mathrm{CE}\big(\mathrm{readout}(z_t + (1 - t)\, \hat v),\, y\big) \tag{13}$$

    ??? cite "Reference"

        Lipman et al., *Flow Matching for Generative Modeling*, 2022 (arXiv 2210.02747).
    """

    field: AbstractVectorField
    embedding: AbstractLabelEmbedding
    readout: AbstractReadout
    times: AbstractTimes
    states_per_image: int = eqx.field(static=True)
    sigma: float = eqx.field(static=True)
    anchor: bool = eqx.field(static=True)

    def __init__(
        self,
        field: AbstractVectorField,
        *,
        embedding: AbstractLabelEmbedding,
        readout: AbstractReadout | None = None,
        times: AbstractTimes | None = None,
        states_per_image: int = 1,
        sigma: float = 0.0,
        anchor: bool | None = None,
        key: Key | None = None,
    ):
        r"""**Arguments:**

        - `field`: the network.
        - `embedding`: label embeddings.
        - `readout`: from $z_1$ to classes; the nearest embedding by default.
        - `times`: the distribution of training times; uniform by default.
        - `states_per_image`: number of noisy label states that a step draws for each image.
        - `sigma`: standard deviation of the noise around the line; 0 by default, as the paper gives none.
        - `anchor`: whether to add the anchor; by default, only if the embedding or the readout is trainable.
        - `key`: not needed by the defaults; accepted so that every variant is built alike.

        **Raises:** `ValueError` if `sigma` is negative or `states_per_image` not positive.
        """
        del key
        if not 0 <= sigma < math.inf:
            raise ValueError(f"sigma is a deviation: finite, and not negative; got {sigma}.")
        self.field = field
        self.embedding = embedding
        self.readout = NearestEmbedding() if readout is None else readout
        self.times = UniformTimes() if times is None else times
        self.states_per_image = check_states_per_image(states_per_image)
        self.sigma = number(sigma)
        read = embedding, self.readout  # what no other term of the loss constrains
        self.anchor = any(jax.tree.leaves(trainable_mask(read))) if anchor is None else anchor

    @property
    def default_prediction(self) -> Prediction:
        """One Euler step from each of four draws of noise, read at its end."""
        return few_euler_draws()

    @property
    def protocols(self) -> dict[str, Prediction]:
        return flow_protocols(self.paper_prediction)

    def velocity(self, t: Scalar, z: Latent, features: Features) -> Latent:
        r"""The velocity $\hat v(z, x, t)$; see [`noprop_ode.AbstractModel.velocity`][]."""
        return self.embedding.mix(class_logits(self.field, t, z, features, self.embedding))

    def log_posterior(self, t: Scalar, z: Latent, features: Features) -> LogProbs:
        r"""The readout at the end of the line through the state, $z + (1 - t)\, \hat v$."""
        return self.readout(z + (1 - t) * self.velocity(t, z, features), self.embedding)

    def end_log_posterior(self, z: Latent) -> LogProbs:
        r"""The exact class posterior with $z_1 \sim \mathcal{N}(u_y, \sigma^2 I)$, which needs a positive `sigma`.

        **Raises:** `ValueError` if `sigma` is zero, because the marginal is then a point.
        """
        if self.sigma == 0:
            raise ValueError(
                "With sigma=0 the state at t = 1 is the embedding itself, and has no posterior but certainty. Use "
                "ReadoutDecoder() or DenoiserDecoder(), or build NoPropFM with sigma > 0."
            )
        return NearestEmbedding(self.sigma)(z, self.embedding)

    def loss(
        self, x: Image, y: Label, *, key: Key, t: Scalar | None = None, features: Features | None = None
    ) -> LossTerms:
        """The training loss of one example; the readout term is the anchor."""
        time_key, encode_key, start_key, noise_key = jr.split(key, 4)
        if t is None:
            t = self.times.quantile(jr.uniform(time_key, (), jnp.float32))
        if features is None:
            features = self.field.encode(x, key=encode_key)
        u = self.embedding(y)
        z0 = jr.normal(start_key, u.shape, u.dtype)
        z = t * u + (1 - t) * z0 + self.sigma * jr.normal(noise_key, u.shape, u.dtype)

        v = self.velocity(t, z, features)
        error = jnp.sum((v - (u - z0)) ** 2)
        zero = jnp.zeros_like(error)
        anchor = -self.readout(z + (1 - t) * v, self.embedding)[y] if self.anchor else zero
        return LossTerms(denoising=error, readout=anchor, prior=zero)
