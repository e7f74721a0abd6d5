"""From labels to vectors."""

import abc

import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from .._freezable import AbstractFreezable, held_if_frozen
from .._types import Key, Label, Latent


class AbstractLabelEmbedding(eqx.Module):
    r"""Label embeddings: a matrix $W$ of shape `[classes, dim]` whose row $u_y$ stands for class $y$;
    `num_classes` and `dim` are its sizes.

    Schedules assume rows of norm about one. Rows of norm $r$ shift the log-SNR by $2 \log r$: subtract that from
    `log_snr_0` and `log_snr_1`, and with flow matching pass `readout=NearestEmbedding(r / 4)`.

    Floating-point arrays of a subclass are weights, which the optimiser trains and decays; to keep them fixed, also
    subclass [`noprop_ode.AbstractFreezable`][], with `trainable: bool = eqx.field(default=False, static=True)`.
    """

    num_classes: eqx.AbstractVar[int]
    dim: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(self, y: Label) -> Latent:
        """The embedding of a label.

        **Arguments:**

        - `y`: the class, in `[0, num_classes)`. Under `jit`, a label out of range cannot raise; it gives NaN, so
            that any loss computed from it is NaN too.

        **Returns:** the row $u_y$, shape `[dim]`.
        """

    @abc.abstractmethod
    def mix(self, weights: Float[Array, " classes"]) -> Latent:
        r"""The weighted sum of the rows, $W^\top p$, which turns class weights into a point among the embeddings.

        **Arguments:**

        - `weights`: a weight for each class; probabilities for DT and CT.

        **Returns:** shape `[dim]`.
        """

    @abc.abstractmethod
    def similarity(self, z: Latent) -> Float[Array, " classes"]:
        """The inner products $W z$ of a point with every embedding.

        **Arguments:** a point `z`, shape `[dim]`. **Returns:** shape `[classes]`.
        """

    @abc.abstractmethod
    def squared_norms(self) -> Float[Array, " classes"]:
        r"""The squared norms $\|u_y\|^2$. **Returns:** shape `[classes]`."""


class OneHot(AbstractLabelEmbedding):
    r"""Fixed one-hot embeddings, $W = I$. Holds no array, so there is nothing to train or to decay."""

    num_classes: int
    dim: int

    def __init__(self, num_classes: int):
        """**Arguments:** `num_classes`, at least 2; also the dimension of the embedding.

        **Raises:** `ValueError` for fewer.
        """
        if num_classes < 2:
            raise ValueError(f"A classifier needs at least 2 classes; got num_classes={num_classes}.")
        self.num_classes = num_classes
        self.dim = num_classes

    def __call__(self, y: Label) -> Latent:
        y = jnp.asarray(y, jnp.int32)  # in uint8 there is no 256 to compare with
        known = (y >= 0) & (y < self.num_classes)
        return jnp.where(known, jnn.one_hot(y, self.num_classes, dtype=jnp.float32), jnp.nan)

    def mix(self, weights: Float[Array, " classes"]) -> Latent:
        return weights

    def similarity(self, z: Latent) -> Float[Array, " classes"]:
        return z

    def squared_norms(self) -> Float[Array, " classes"]:
        return jnp.ones(self.num_classes, dtype=jnp.float32)


class AbstractMatrixEmbedding(AbstractLabelEmbedding, AbstractFreezable):
    """Embeddings that are the rows of an array."""

    matrix: eqx.AbstractVar[Float[Array, "classes dim"]]

    def __call__(self, y: Label) -> Latent:
        y = jnp.asarray(y, jnp.int32)  # in uint8 there is no 256 to compare with
        known = (y >= 0) & (y < self.num_classes)
        return jnp.where(known, held_if_frozen(self).matrix[y], jnp.nan)

    def mix(self, weights: Float[Array, " classes"]) -> Latent:
        # Not in TF32 or bfloat16, as accelerators would by default: a thousandfold weight may follow.
        return jnp.matmul(weights, held_if_frozen(self).matrix, precision="highest")

    def similarity(self, z: Latent) -> Float[Array, " classes"]:
        return jnp.matmul(held_if_frozen(self).matrix, z, precision="highest")

    def squared_norms(self) -> Float[Array, " classes"]:
        return jnp.sum(held_if_frozen(self).matrix ** 2, axis=-1)


class LearnedEmbedding(AbstractMatrixEmbedding):
    """Learned embeddings of any dimension (20 in the paper), initialised with orthonormal rows if the dimension allows
    it, and with random rows of expected squared norm one otherwise."""

    matrix: Float[Array, "classes dim"]
    num_classes: int
    dim: int
    trainable: bool = eqx.field(static=True)

    def __init__(self, num_classes: int, dim: int, *, trainable: bool = True, key: Key):
        """**Arguments:**

        - `num_classes`: number of classes, at least 2.
        - `dim`: dimension of the embedding.
        - `trainable`: whether the optimiser may change the embeddings.
        - `key`: initialises them.

        **Raises:** `ValueError` for fewer than 2 classes or 1 dimension.
        """
        if num_classes < 2 or dim < 1:
            raise ValueError(f"Expected at least 2 classes and 1 dimension; got {num_classes} classes, dim={dim}.")
        if dim >= num_classes:
            self.matrix = jnn.initializers.orthogonal()(key, (num_classes, dim), jnp.float32)
        else:
            self.matrix = dim**-0.5 * jr.normal(key, (num_classes, dim), jnp.float32)
        self.num_classes = num_classes
        self.dim = dim
        self.trainable = trainable
