import abc

import equinox as eqx
import jax.nn as jnn
import jax.random as jr
from jaxtyping import Array, Float

from .._types import Image, Key, Latent, Logits, Scalar
from .._vector_field import AbstractVectorField
from ._heads import BlockHead, ContinuousHead
from ._layers import Conv, check_image_shape, max_pool, to_float


class AbstractBackbone(eqx.Module):
    """A network from an image to a vector of features; [`noprop_ode.nn.BackboneField`][] makes a field of it."""

    feature_size: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(self, x: Image, *, key: Key | None = None) -> Float[Array, " feature_size"]:
        """The features of an image.

        **Arguments:**

        - `x`: an image, `[height, width, channels]`; uint8 in [0, 255] or floating point in [0, 1].
        - `key`: randomness for dropout during training; `None` at inference.

        **Returns:** shape `[feature_size]`.
        """


class BackboneField(AbstractVectorField):
    """Turns any backbone into a field of image, state and time, for NoProp-CT and NoProp-FM."""

    backbone: AbstractBackbone
    head: ContinuousHead

    def __init__(self, backbone: AbstractBackbone, num_classes: int, label_dim: int, *, width: int = 256, key: Key):
        """**Arguments:**

        - `backbone`: from image to features.
        - `num_classes`: number of classes.
        - `label_dim`: dimension of the state.
        - `width`: features of the label and of the time branch.
        - `key`: initialises the head.
        """
        self.backbone = backbone
        self.head = ContinuousHead(backbone.feature_size, num_classes, label_dim, width=width, key=key)

    def encode(self, x: Image, *, key: Key | None = None) -> Float[Array, " feature_size"]:
        """See [`noprop_ode.AbstractVectorField.encode`][]; shape `[feature_size]`."""
        return self.backbone(x, key=key)

    def __call__(self, t: Scalar, z: Latent, features: Float[Array, " feature_size"]) -> Logits:
        """See [`noprop_ode.AbstractVectorField.__call__`][]."""
        return self.head(t, z, features)


class BackboneBlock(AbstractVectorField):
    """Turns any backbone into a field of image and state, for a block of NoProp-DT."""

    backbone: AbstractBackbone
    head: BlockHead

    def __init__(self, backbone: AbstractBackbone, num_classes: int, label_dim: int, *, width: int = 256, key: Key):
        """**Arguments:** as for [`noprop_ode.nn.BackboneField`][]."""
        self.backbone = backbone
        self.head = BlockHead(backbone.feature_size, num_classes, label_dim, width=width, key=key)

    def encode(self, x: Image, *, key: Key | None = None) -> Float[Array, " feature_size"]:
        """See [`noprop_ode.AbstractVectorField.encode`][]; shape `[feature_size]`."""
        return self.backbone(x, key=key)

    def __call__(self, t: Scalar, z: Latent, features: Float[Array, " feature_size"]) -> Logits:
        """See [`noprop_ode.AbstractVectorField.__call__`][]; the time is not used."""
        return self.head(z, features)


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
        """See [`noprop_ode.nn.AbstractBackbone.__call__`][]."""
        check_image_shape(x, self.image_shape)
        h = to_float(x)
        for conv in self.convs:
            h = max_pool(jnn.relu(conv(h)))
        return h.mean(axis=(0, 1))
