"""A small network for small images, made for speed."""

from collections.abc import Sequence

import equinox as eqx
import jax.nn as jnn
import jax.random as jr
from jaxtyping import Array, Float

from .._types import Image, Key
from ._backbone import AbstractBackbone
from ._image import check_image_shape, to_float
from ._layers import Conv, GroupNorm, max_pool
from ._whitening import Whitening


class _Group(eqx.Module):
    """Two 3x3 convolutions, the first with a max-pooling that halves height and width."""

    convs: tuple[Conv, Conv]
    norms: tuple[GroupNorm, GroupNorm]

    def __init__(self, in_channels: int, channels: int, groups: int, *, key: Key):
        first_key, second_key = jr.split(key)
        self.convs = (Conv(in_channels, channels, key=first_key), Conv(channels, channels, key=second_key))
        self.norms = (GroupNorm(channels, groups=groups), GroupNorm(channels, groups=groups))

    def __call__(self, x: Float[Array, "height width in_channels"]) -> Float[Array, "half_height half_width channels"]:
        h = jnn.gelu(self.norms[0](max_pool(self.convs[0](x))))
        return jnn.gelu(self.norms[1](self.convs[1](h)))


class WhitenedCNN(AbstractBackbone):
    """A convolutional backbone for images of 28 to 32 pixels, made to be trained in a few epochs: a fixed whitening of
    patches and GELU, then three groups of two 3x3 convolutions, each with a max-pooling, normalisation and GELU. The
    features are the maximum over pixels of the last group.

    It is the airbench network, but normalises all channels of an image together (group normalisation with one group)
    instead of using batch normalisation, which would mix examples and carry a state. At its default widths it takes
    0.12 GMAC for an image of 32x32 pixels.

    ??? cite "Reference"

        Jordan, *94% on CIFAR-10 in 3.29 Seconds on a Single GPU*, 2024 (arXiv 2404.00498).
    """

    whitening: Whitening
    groups: tuple[_Group, ...]
    image_shape: tuple[int, int, int] = eqx.field(static=True)
    feature_size: int = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        whitening: Whitening,
        *,
        widths: Sequence[int] = (64, 256, 256),
        norm_groups: int = 1,
        key: Key,
    ):
        """**Arguments:**

        - `image_shape`: height, width and channels.
        - `whitening`: the first layer, made from the training images: [`noprop_ode.nn.whitening`][].
        - `widths`: channels of each group. Each group halves height and width.
        - `norm_groups`: channels are normalised in this many groups. One per channel would remove how strong a channel
            is in an image, and cost six points of accuracy after three epochs of CIFAR-10.
        - `key`: initialises the layers.

        **Raises:** `ValueError` for images too small for that many groups, or if the whitening has other channels.
        """
        size, _, channels, _ = whitening.weight.shape
        if channels != image_shape[2]:
            raise ValueError(
                f"The whitening is of images with {channels} channels, and image_shape is {image_shape}. Make it of "
                "the training images: whitening(splits.train.images)."
            )
        if not widths or (min(image_shape[:2]) - size + 1) // 2 ** len(widths) < 1:
            raise ValueError(
                f"{len(widths)} groups, each of which halves height and width, need images of at least "
                f"{2 ** len(widths) + size - 1} pixels; got image_shape={image_shape}."
            )
        ins = (whitening.out_channels, *widths[:-1])
        self.whitening = whitening
        self.groups = tuple(
            _Group(i, o, norm_groups, key=key) for i, o, key in zip(ins, widths, jr.split(key, len(widths)))
        )
        self.image_shape = image_shape
        self.feature_size = widths[-1]

    def __call__(self, x: Image, *, key: Key | None = None) -> Float[Array, " feature_size"]:
        check_image_shape(x, self.image_shape)
        h = jnn.gelu(self.whitening(to_float(x)))
        for group in self.groups:
            h = group(h)
        return h.max(axis=(0, 1))
