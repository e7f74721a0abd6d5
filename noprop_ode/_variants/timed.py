"""What the variants with a loss at random times share."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from .._choices import Prediction
from .._model import AbstractModel, LossTerms
from .._objectives.times import AbstractTimes
from .._parts import vmap_in_parts
from .._types import Features, Image, Images, Key, Label, Labels, Scalar
from .protocols import many_euler_steps


class AbstractTimedModel(AbstractModel):
    r"""What CT and FM share: a loss at random times.

    A step may draw several times and noise samples for each image (`states_per_image`). The loss is the same on average
    and its gradient less noisy, while the image, which is the expensive part, is encoded once. A subclass has the
    fields of [`noprop_ode.AbstractModel`][], and also `times` and `states_per_image`.
    """

    times: eqx.AbstractVar[AbstractTimes]
    states_per_image: eqx.AbstractVar[int]

    @property
    def paper_prediction(self) -> Prediction:
        """1000 Euler steps from noise, and the readout."""
        return many_euler_steps()

    @property
    def independent_blocks(self) -> None:
        """`None`: there is only one network."""
        return None

    @abc.abstractmethod
    def loss(
        self, x: Image, y: Label, *, key: Key, t: Scalar | None = None, features: Features | None = None
    ) -> LossTerms:
        """The training loss of one example and one noisy state of its label.

        **Arguments:** as for [`noprop_ode.AbstractModel.loss`][], and

        - `t`: the training time; drawn if not given.
        - `features`: the image features, from `field.encode`; encoded if not given.

        **Returns:** the terms of the loss, each a scalar.
        """

    def batch_loss(self, xs: Images, ys: Labels, *, key: Key) -> LossTerms:
        """The training loss averaged over a batch and over `states_per_image` noisy states of each label,
        whose times are spread over [0, 1]."""
        xs, ys = jnp.asarray(xs), jnp.asarray(ys)
        times_key, loss_key, encode_key = jr.split(key, 3)
        encode = vmap_in_parts(lambda x, key: self.field.encode(x, key=key), self.field)
        features = encode(xs, jr.split(encode_key, len(xs)))
        shape = (self.states_per_image, len(xs))
        ts = self.times.stratified(shape[0] * shape[1], key=times_key).reshape(shape)
        keys = jr.split(loss_key, shape)

        losses = jax.vmap(lambda x, y, features, key, t: self.loss(x, y, key=key, t=t, features=features))
        terms = jax.vmap(losses, in_axes=(None, None, None, 0, 0))(xs, ys, features, keys, ts)
        return jax.tree.map(jnp.mean, terms)
