import abc

import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from .._types import Key, Latent, Logits, Scalar
from ._layers import LayerNorm, Linear, time_embedding


class AbstractLabelBranch(eqx.Module):
    """How the state enters a head: from a point among the label embeddings to features."""

    @abc.abstractmethod
    def __call__(self, z: Latent) -> Float[Array, " width"]:
        """**Arguments:** a state, `[dim]`. **Returns:** features before any nonlinearity, `[width]`."""


class ContinuousHead(eqx.Module):
    """The part of the paper's continuous-time network that runs inside the solver (its figure 6): label and time
    branches of one width, joined with the image features, then three linear layers down to the classes; ReLU
    throughout, no normalisation."""

    label: Linear | AbstractLabelBranch
    time: Linear
    layers: tuple[Linear, Linear, Linear]
    time_size: int = eqx.field(static=True)

    def __init__(
        self,
        feature_size: int,
        num_classes: int,
        label_dim: int,
        *,
        width: int = 256,
        time_size: int = 64,
        label: AbstractLabelBranch | None = None,
        key: Key,
    ):
        """**Arguments:**

        - `feature_size`: number of image features.
        - `num_classes`: number of classes.
        - `label_dim`: dimension of the state.
        - `width`: features of the label and of the time branch.
        - `time_size`: number of sinusoidal features of time, even.
        - `label`: the label branch, of `width` features; a linear layer by default.
        - `key`: initialises the layers.
        """
        keys = jr.split(key, 5)
        self.label = Linear(label_dim, width, key=keys[0]) if label is None else label
        self.time = Linear(time_size, width, key=keys[1])
        self.layers = (
            Linear(feature_size + 2 * width, width, key=keys[2]),
            Linear(width, width // 2, key=keys[3]),
            Linear(width // 2, num_classes, key=keys[4]),
        )
        self.time_size = time_size

    def __call__(self, t: Scalar, z: Latent, features: Float[Array, " feature_size"]) -> Logits:
        """**Arguments:** time, state `[dim]` and image features `[feature_size]`. **Returns:** logits `[classes]`."""
        label = jnn.relu(self.label(z))
        time = jnn.relu(self.time(time_embedding(t, self.time_size)))
        h = jnp.concatenate([features, label, time])
        h = jnn.relu(self.layers[0](h))
        h = jnn.relu(self.layers[1](h))
        return self.layers[2](h)


class BlockHead(eqx.Module):
    """The part of the paper's discrete-time block that sees the state (its figure 6): a label branch with a residual
    block, joined with the image features, then three linear layers down to the classes. It does not see the time,
    because each block has its own.

    LayerNorm stands where the paper has batch normalisation, which would make the loss depend on other examples and
    carry a state.
    """

    label: tuple[Linear | AbstractLabelBranch, Linear, Linear]
    label_norms: tuple[LayerNorm, LayerNorm, LayerNorm]
    layers: tuple[Linear, Linear, Linear]
    norms: tuple[LayerNorm, LayerNorm]

    def __init__(
        self,
        feature_size: int,
        num_classes: int,
        label_dim: int,
        *,
        width: int = 256,
        label: AbstractLabelBranch | None = None,
        key: Key,
    ):
        """**Arguments:**

        - `feature_size`: number of image features.
        - `num_classes`: number of classes.
        - `label_dim`: dimension of the state.
        - `width`: features of the label branch.
        - `label`: the first part of the label branch, of `width` features; a linear layer by default.
        - `key`: initialises the layers.
        """
        keys = jr.split(key, 6)
        self.label = (
            Linear(label_dim, width, key=keys[0]) if label is None else label,
            Linear(width, width, key=keys[1]),
            Linear(width, width, key=keys[2]),
        )
        self.label_norms = (LayerNorm(width), LayerNorm(width), LayerNorm(width))
        self.layers = (
            Linear(feature_size + width, width, key=keys[3]),
            Linear(width, width // 2, key=keys[4]),
            Linear(width // 2, num_classes, key=keys[5]),
        )
        self.norms = (LayerNorm(width), LayerNorm(width // 2))

    def __call__(self, z: Latent, features: Float[Array, " feature_size"]) -> Logits:
        """**Arguments:** state `[dim]` and image features `[feature_size]`. **Returns:** logits `[classes]`."""
        label = jnn.relu(self.label_norms[0](self.label[0](z)))
        residual = jnn.relu(self.label_norms[1](self.label[1](label)))
        label = label + self.label_norms[2](self.label[2](residual))
        h = jnp.concatenate([features, label])
        h = jnn.relu(self.norms[0](self.layers[0](h)))
        h = jnn.relu(self.norms[1](self.layers[1](h)))
        return self.layers[2](h)
