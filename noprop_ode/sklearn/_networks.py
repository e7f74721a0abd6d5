"""The default networks of a classifier."""

import equinox as eqx
import jax.nn as jnn
import jax.random as jr
from jaxtyping import Array, Float

from .._types import Image, Key
from .._vector_field import AbstractVectorField
from ..nn import AbstractBackbone, BackboneBlock, BackboneField, Linear, SimpleCNN, to_float


class Perceptron(AbstractBackbone):
    """Hidden layers with ReLU, for the rows of a table."""

    layers: tuple[eqx.nn.Linear, ...]
    feature_size: int = eqx.field(static=True)

    def __init__(self, in_size: int, hidden_sizes: tuple[int, ...], *, key: Key):
        """**Arguments:**

        - `in_size`: number of inputs.
        - `hidden_sizes`: units of each layer, at least one.
        - `key`: initialises the layers.
        """
        sizes = (in_size, *hidden_sizes)
        keys = jr.split(key, len(hidden_sizes))
        self.layers = tuple(Linear(m, n, key=k) for m, n, k in zip(sizes[:-1], sizes[1:], keys))
        self.feature_size = hidden_sizes[-1]

    def __call__(self, x: Image, *, key: Key | None = None) -> Float[Array, " feature_size"]:
        h = to_float(x).reshape(-1)
        for layer in self.layers:
            h = jnn.relu(layer(h))
        return h


def default_field(
    image_shape: tuple[int, int, int],
    num_classes: int,
    label_dim: int,
    *,
    hidden_sizes: tuple[int, ...],
    block: bool,
    key: Key,
) -> AbstractVectorField:
    """A small network: convolutions if an image has room for three poolings, hidden layers otherwise.

    **Arguments:**

    - `image_shape`: height, width and channels; a row of a table is an image of one pixel.
    - `num_classes`, `label_dim`: as for any field.
    - `hidden_sizes`: units of the hidden layers; the last is the width of the head in any case.
    - `block`: whether it is a block of NoProp-DT, which does not see the time.
    - `key`: initialises the layers.

    **Returns:** the field.
    """
    backbone_key, head_key = jr.split(key)
    if min(image_shape[:2]) >= 8:
        backbone = SimpleCNN(image_shape, key=backbone_key)
    else:
        height, width, channels = image_shape
        backbone = Perceptron(height * width * channels, hidden_sizes, key=backbone_key)
    make = BackboneBlock if block else BackboneField
    return make(backbone, num_classes, label_dim, width=hidden_sizes[-1], key=head_key)
