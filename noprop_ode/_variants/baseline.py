"""What the baselines have in common."""

import jax
import jax.numpy as jnp
import jax.random as jr

from .._choices import Prediction
from .._model import AbstractModel, LossTerms
from .._parts import vmap_in_parts
from .._types import Images, Key, Labels


class AbstractBaseline(AbstractModel):
    """A model that predicts in one way and trains as one network; the loss of a batch is the mean over its examples."""

    @property
    def paper_prediction(self) -> Prediction:
        """The same as the default: the way it was trained."""
        return self.default_prediction

    @property
    def protocols(self) -> dict[str, Prediction]:
        """Empty: there is only one way of predicting."""
        return {}

    @property
    def independent_blocks(self) -> None:
        """`None`: the loss is that of the whole network."""

    def batch_loss(self, xs: Images, ys: Labels, *, key: Key) -> LossTerms:
        keys = jr.split(key, len(xs))
        losses = vmap_in_parts(lambda x, y, key: self.loss(x, y, key=key), self.field)
        terms = losses(jnp.asarray(xs), jnp.asarray(ys), keys)
        return jax.tree.map(jnp.mean, terms)
