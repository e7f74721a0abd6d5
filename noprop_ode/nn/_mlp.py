"""The shortest example of a field."""

import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from .._types import Image, Key, Latent, Logits, Scalar
from .._vector_field import AbstractSizedField, FieldSizes
from ._image import check_image_shape, to_float
from ._layers import Linear, check_time_size, time_embedding


class MLPField(AbstractSizedField):
    """A multi-layer perceptron on the pixels, for small images; the shortest example of a field."""

    encoder: tuple[eqx.nn.Linear, eqx.nn.Linear]
    inputs: eqx.nn.Linear
    head: tuple[eqx.nn.Linear, eqx.nn.Linear]
    num_classes: int = eqx.field(static=True)
    label_dim: int = eqx.field(static=True)
    image_shape: tuple[int, int, int] = eqx.field(static=True)
    time_size: int = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        label_dim: int,
        *,
        width: int = 256,
        time_size: int = 64,
        key: Key,
    ):
        """**Arguments:**

        - `image_shape`: height, width and channels.
        - `num_classes`: number of classes.
        - `label_dim`: dimension of the label embedding, the size of the state.
        - `width`: hidden units of each layer.
        - `time_size`: number of sinusoidal features of time, even.
        - `key`: initialises the layers.

        **Raises:** `ValueError` for an odd `time_size`.
        """
        check_time_size(time_size)
        height, pixels_width, channels = image_shape
        keys = jr.split(key, 5)
        pixels = height * pixels_width * channels
        self.encoder = (Linear(pixels, width, key=keys[0]), Linear(width, width, key=keys[1]))
        self.inputs = Linear(label_dim + time_size, width, key=keys[2])
        self.head = (Linear(2 * width, width, key=keys[3]), Linear(width, num_classes, key=keys[4]))
        self.num_classes = num_classes
        self.label_dim = label_dim
        self.image_shape = image_shape
        self.time_size = time_size

    @property
    def sizes(self) -> FieldSizes:
        width = self.encoder[1].out_features
        return FieldSizes(self.label_dim, self.num_classes, jax.ShapeDtypeStruct((width,), jnp.float32))

    def encode(self, x: Image, *, key: Key | None = None) -> Float[Array, " width"]:
        check_image_shape(x, self.image_shape)
        h = jnn.relu(self.encoder[0](to_float(x).reshape(-1)))
        return jnn.relu(self.encoder[1](h))

    def __call__(self, t: Scalar, z: Latent, features: Float[Array, " width"]) -> Logits:
        time = time_embedding(t, self.time_size).astype(z.dtype)
        state = jnn.relu(self.inputs(jnp.concatenate([z, time])))
        return self.head[1](jnn.relu(self.head[0](jnp.concatenate([features, state]))))
