"""What runs inside the solver: from time, state and image features to logits."""

import abc

import equinox as eqx
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Shaped

from .._numbers import number
from .._types import Key, Latent, Logits, Scalar
from ._layers import LayerNorm, Linear, check_time_size, time_embedding


class AbstractHead(eqx.Module):
    """The small part of a field that a solver evaluates at every step."""

    @abc.abstractmethod
    def __call__(self, t: Scalar, z: Latent, features: Float[Array, " feature_size"]) -> Logits:
        """The class logits.

        **Arguments:**

        - `t`: time in [0, 1], float32 in every network.
        - `z`: the state, shape `[dim]`.
        - `features`: the image features, shape `[feature_size]`.

        **Returns:** logits, shape `[classes]`.
        """


class AbstractLabelBranch(eqx.Module):
    """How the state enters a head: from a point among the label embeddings to features."""

    @abc.abstractmethod
    def __call__(self, z: Latent) -> Float[Array, " width"]:
        """**Arguments:** a state, `[dim]`. **Returns:** features before any nonlinearity, `[width]`."""


class ContinuousHead(AbstractHead):
    """The part of the paper's continuous-time network that runs inside the solver (its figure 6): label and time
    branches of one width, joined with the image features, then three linear layers down to the classes; ReLU
    throughout, no normalisation."""

    label: eqx.nn.Linear | AbstractLabelBranch
    time: eqx.nn.Linear
    layers: tuple[eqx.nn.Linear, eqx.nn.Linear, eqx.nn.Linear]
    time_size: int = eqx.field(static=True)
    logit_scale: float = eqx.field(static=True)

    def __init__(
        self,
        feature_size: int,
        num_classes: int,
        label_dim: int,
        *,
        width: int = 256,
        time_size: int = 64,
        label: AbstractLabelBranch | None = None,
        logit_scale: float = 1.0,
        key: Key,
    ):
        """**Arguments:**

        - `feature_size`: number of image features.
        - `num_classes`: number of classes.
        - `label_dim`: dimension of the state.
        - `width`: features of the label and of the time branch.
        - `time_size`: number of sinusoidal features of time, even.
        - `label`: the label branch, of `width` features; a linear layer by default.
        - `logit_scale`: a factor on the logits. Below one, the first predictions are less confident, and the last layer
            learns more slowly than the others.
        - `key`: initialises the layers.

        **Raises:** `ValueError` for a size below one (a `width` below two), or an odd `time_size`.
        """
        check_time_size(time_size)
        keys = jr.split(key, 5)
        self.label = Linear(label_dim, width, key=keys[0]) if label is None else label
        self.time = Linear(time_size, width, key=keys[1])
        self.layers = _down_to(num_classes, feature_size + 2 * width, width, keys[2:])
        self.time_size = time_size
        self.logit_scale = number(logit_scale)

    def __call__(self, t: Scalar, z: Latent, features: Float[Array, " feature_size"]) -> Logits:
        label = jnn.relu(self.label(z))
        time = jnn.relu(self.time(time_embedding(t, self.time_size).astype(z.dtype)))
        h = jnn.relu(_joined(self.layers[0], features, label, time))
        h = jnn.relu(self.layers[1](h))
        return self.logit_scale * self.layers[2](h)


class BlockHead(AbstractHead):
    """The part of the paper's discrete-time block that sees the state (its figure 6): a label branch with a residual
    block, joined with the image features, then three linear layers down to the classes. It does not use the time,
    because each block has its own.

    LayerNorm replaces the paper's batch normalisation, which would make the loss stateful and dependent on other
    examples.
    """

    label: tuple[eqx.nn.Linear | AbstractLabelBranch, eqx.nn.Linear, eqx.nn.Linear]
    label_norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm, eqx.nn.LayerNorm]
    layers: tuple[eqx.nn.Linear, eqx.nn.Linear, eqx.nn.Linear]
    norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm]
    logit_scale: float = eqx.field(static=True)

    def __init__(
        self,
        feature_size: int,
        num_classes: int,
        label_dim: int,
        *,
        width: int = 256,
        label: AbstractLabelBranch | None = None,
        logit_scale: float = 1.0,
        key: Key,
    ):
        """**Arguments:** as for [`noprop_ode.nn.ContinuousHead`][], without `time_size`; `label` is the first part of
        the label branch.

        **Raises:** `ValueError` for a size below one, or a `width` below four, where a norm of half of it is constant.
        """
        if width < 4:
            raise ValueError(f"A block's head needs a width of at least 4; got width={width}.")
        keys = jr.split(key, 6)
        self.label = (
            Linear(label_dim, width, key=keys[0]) if label is None else label,
            Linear(width, width, key=keys[1]),
            Linear(width, width, key=keys[2]),
        )
        self.label_norms = (LayerNorm(width), LayerNorm(width), LayerNorm(width))
        self.layers = _down_to(num_classes, feature_size + width, width, keys[3:])
        self.norms = (LayerNorm(width), LayerNorm(width // 2))
        self.logit_scale = number(logit_scale)

    def __call__(self, t: Scalar, z: Latent, features: Float[Array, " feature_size"]) -> Logits:
        label = jnn.relu(self.label_norms[0](self.label[0](z)))
        residual = jnn.relu(self.label_norms[1](self.label[1](label)))
        label = label + self.label_norms[2](self.label[2](residual))
        h = jnn.relu(self.norms[0](_joined(self.layers[0], features, label)))
        h = jnn.relu(self.norms[1](self.layers[1](h)))
        return self.logit_scale * self.layers[2](h)


def _joined(layer: eqx.nn.Linear, *parts: Float[Array, " _"]) -> Float[Array, " width"]:
    """A linear layer on several concatenated vectors, as a sum of one product per vector: under `vmap`, what is the
    same for all states of an image, or for all images, is then multiplied only once, and what no solver step changes,
    once before the loop."""
    *ends, size = np.cumsum([part.size for part in parts]).tolist()
    if size != layer.in_features:
        raise ValueError(
            f"A head joins vectors of {', '.join(str(part.size) for part in parts)} numbers, which makes {size}, and "
            f"was built for {layer.in_features}. A `label` branch is to have as many as the `width` of the head."
        )
    products = [weight @ part for weight, part in zip(jnp.split(layer.weight, ends, axis=1), parts, strict=True)]
    assert layer.bias is not None
    return sum(products, layer.bias)


def _down_to(
    num_classes: int, in_size: int, width: int, keys: Shaped[Array, "3 ..."]
) -> tuple[eqx.nn.Linear, eqx.nn.Linear, eqx.nn.Linear]:
    """The last three layers of both heads: `width`, half of it, classes."""
    return (
        Linear(in_size, width, key=keys[0]),
        Linear(width, width // 2, key=keys[1]),
        Linear(width // 2, num_classes, key=keys[2]),
    )
