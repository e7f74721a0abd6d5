"""The interface of a backbone, and a small one."""

import abc

import equinox as eqx
import jax.nn as jnn
import jax.random as jr
from jaxtyping import Array, Float

from .._types import Image, Key
from ._image import check_image_shape, to_float
from ._layers import Conv, max_pool


class AbstractBackbone(eqx.Module):
    """A network from an image to a vector of features; [`noprop_ode.nn.BackboneField`][] turns it into a field."""

    feature_size: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(self, x: Image, *, key: Key | None = None) -> Float[Array, " feature_size"]:
        """The features of an image.

        **Arguments:**

        - `x`: an image, `[height, width, channels]`; uint8 in [0, 255] or floating point in [0, 1].
        - `key`: randomness for dropout during training; `None` at inference.

        **Returns:** shape `[feature_size]`.
        """


class SimpleCNN(AbstractBackbone):
    """A small convolutional backbone: three 3x3 convolutions with ReLU and max-pooling, then the mean over pixels."""

    convs: tuple[Conv, Conv, Conv]
    image_shape: tuple[int, int, int] = eqx.field(static=True)
    feature_size: int = eqx.field(static=True)

    def __init__(self, image_shape: tuple[int, int, int], *, width: int = 32, key: Key):
        """**Arguments:**

        - `image_shape`: height, width and channels; height and width at least 8.
        - `width`: channels of the first convolution; the others have two and four times as many.
        - `key`: initialises the layers.

        **Raises:** `ValueError` for an image too small for three poolings.
        """
        if min(image_shape[:2]) < 8:
            raise ValueError(f"Three poolings need images of at least 8x8 pixels; got image_shape={image_shape}.")
        keys = jr.split(key, 3)
        self.convs = (
            Conv(image_shape[2], width, key=keys[0]),
            Conv(width, 2 * width, key=keys[1]),
            Conv(2 * width, 4 * width, key=keys[2]),
        )
        self.image_shape = image_shape
        self.feature_size = 4 * width

    def __call__(self, x: Image, *, key: Key | None = None) -> Float[Array, " feature_size"]:
        check_image_shape(x, self.image_shape)
        h = to_float(x)
        for conv in self.convs:
            h = max_pool(jnn.relu(conv(h)))
        return h.mean(axis=(0, 1))
