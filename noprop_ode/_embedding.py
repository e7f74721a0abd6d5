import abc

import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._types import Label, Latent


class AbstractLabelEmbedding(eqx.Module):
    r"""Label embeddings: a matrix $W$ of shape `[classes, dim]` whose row $u_y$ stands for class $y$."""

    num_classes: eqx.AbstractVar[int]
    dim: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(self, y: Label) -> Latent:
        """The embedding of a label.

        **Arguments:**

        - `y`: the class, in `[0, num_classes)`. Under `jit` a label out of range cannot raise; it gives NaN, so
            that no loss computed from it passes for a number.

        **Returns:** the row $u_y$, shape `[dim]`.
        """

    @abc.abstractmethod
    def mix(self, weights: Float[Array, " classes"]) -> Latent:
        r"""The weighted sum of the rows, $W^\top p$: how class weights become a point among the embeddings.

        **Arguments:**

        - `weights`: a weight for each class; probabilities for DT and CT.

        **Returns:** shape `[dim]`.
        """

    @abc.abstractmethod
    def similarity(self, z: Latent) -> Float[Array, " classes"]:
        """The inner products $W z$ of a point with every embedding, shape `[classes]`."""

    @abc.abstractmethod
    def squared_norms(self) -> Float[Array, " classes"]:
        r"""The squared norms $\|u_y\|^2$, shape `[classes]`."""


class OneHot(AbstractLabelEmbedding):
    r"""Fixed one-hot embeddings, $W = I$. Holds no array, so there is nothing to train or to decay."""

    num_classes: int

    def __check_init__(self):
        if self.num_classes < 2:
            raise ValueError(f"A classifier needs at least 2 classes; got num_classes={self.num_classes}.")

    @property
    def dim(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The dimension of the embedding: the number of classes."""
        return self.num_classes

    def __call__(self, y: Label) -> Latent:
        """See [`noprop_ode.AbstractLabelEmbedding.__call__`][]."""
        y = jnp.asarray(y)
        known = (y >= 0) & (y < self.num_classes)
        return jnp.where(known, jnn.one_hot(y, self.num_classes, dtype=jnp.float32), jnp.nan)

    def mix(self, weights: Float[Array, " classes"]) -> Latent:
        """See [`noprop_ode.AbstractLabelEmbedding.mix`][]."""
        return weights

    def similarity(self, z: Latent) -> Float[Array, " classes"]:
        """See [`noprop_ode.AbstractLabelEmbedding.similarity`][]."""
        return z

    def squared_norms(self) -> Float[Array, " classes"]:
        """See [`noprop_ode.AbstractLabelEmbedding.squared_norms`][]."""
        return jnp.ones(self.num_classes, dtype=jnp.float32)
