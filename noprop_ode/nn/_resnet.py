"""Residual networks."""

import abc
import math

import equinox as eqx
import jax.nn as jnn
import jax.random as jr
from jaxtyping import Array, Float

from .._types import Image, Key
from ._backbone import AbstractBackbone
from ._image import check_image_shape, to_float
from ._layers import Conv, GroupNorm


# Number of units in each of the four stages, and whether a unit is a bottleneck (He et al. 2015, table 1).
_DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


class _AbstractUnit(eqx.Module):
    @abc.abstractmethod
    def __call__(self, x: Float[Array, "height width channels"]) -> Float[Array, "new_height new_width new_channels"]:
        pass


class _Shortcut(eqx.Module):
    """The identity if the shape is unchanged, else a 1x1 convolution with normalisation."""

    conv: Conv | None
    norm: GroupNorm | None

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, key: Key):
        same = in_channels == out_channels and stride == 1
        self.conv = None if same else Conv(in_channels, out_channels, size=1, stride=stride, key=key)
        self.norm = None if same else GroupNorm(out_channels)

    def __call__(self, x: Float[Array, "height width channels"]) -> Float[Array, "new_height new_width new_channels"]:
        return x if self.conv is None or self.norm is None else self.norm(self.conv(x))


class _Basic(_AbstractUnit):
    """Two 3x3 convolutions."""

    convs: tuple[Conv, Conv]
    norms: tuple[GroupNorm, GroupNorm]
    shortcut: _Shortcut

    def __init__(self, in_channels: int, channels: int, stride: int, *, key: Key):
        keys = jr.split(key, 3)
        self.convs = (
            Conv(in_channels, channels, stride=stride, key=keys[0]),
            Conv(channels, channels, key=keys[1]),
        )
        self.norms = (GroupNorm(channels), GroupNorm(channels))
        self.shortcut = _Shortcut(in_channels, channels, stride, key=keys[2])

    def __call__(self, x: Float[Array, "height width channels"]) -> Float[Array, "new_height new_width new_channels"]:
        h = jnn.relu(self.norms[0](self.convs[0](x)))
        return jnn.relu(self.norms[1](self.convs[1](h)) + self.shortcut(x))


class _Bottleneck(_AbstractUnit):
    """1x1, 3x3 and 1x1 convolutions, the last with four times the channels."""

    convs: tuple[Conv, Conv, Conv]
    norms: tuple[GroupNorm, GroupNorm, GroupNorm]
    shortcut: _Shortcut

    def __init__(self, in_channels: int, channels: int, stride: int, *, key: Key):
        keys = jr.split(key, 4)
        self.convs = (
            Conv(in_channels, channels, size=1, key=keys[0]),
            Conv(channels, channels, stride=stride, key=keys[1]),
            Conv(channels, 4 * channels, size=1, key=keys[2]),
        )
        self.norms = (GroupNorm(channels), GroupNorm(channels), GroupNorm(4 * channels))
        self.shortcut = _Shortcut(in_channels, 4 * channels, stride, key=keys[3])

    def __call__(self, x: Float[Array, "height width channels"]) -> Float[Array, "new_height new_width new_channels"]:
        h = jnn.relu(self.norms[0](self.convs[0](x)))
        h = jnn.relu(self.norms[1](self.convs[1](h)))
        return jnn.relu(self.norms[2](self.convs[2](h)) + self.shortcut(x))


class ResNet(AbstractBackbone):
    """A residual network for images of 28 to 64 pixels: a 3x3 stem without pooling, and group normalisation instead of
    batch normalisation, which would mix examples and carry a state. The features are the mean over pixels of the last
    stage.

    ??? cite "Reference"

        He, Zhang, Ren and Sun, *Deep Residual Learning for Image Recognition*, 2015 (arXiv 1512.03385).
    """

    stem: Conv
    norm: GroupNorm
    units: tuple[_AbstractUnit, ...]
    image_shape: tuple[int, int, int] = eqx.field(static=True)
    feature_size: int = eqx.field(static=True)

    def __init__(self, depth: int, image_shape: tuple[int, int, int], *, width: int = 64, key: Key):
        """**Arguments:**

        - `depth`: 18, 34, 50, 101 or 152.
        - `image_shape`: height, width and channels.
        - `width`: channels of the first stage; the others have two, four and eight times as many.
        - `key`: initialises the layers.

        **Raises:** `ValueError` for another depth, and for images so small that a norm would cover fewer than four
        numbers.
        """
        if depth not in _DEPTHS:
            raise ValueError(f"A ResNet has a depth of {', '.join(map(str, _DEPTHS))}; got {depth}.")
        counts, bottleneck = _DEPTHS[depth]
        make, expansion = (_Bottleneck, 4) if bottleneck else (_Basic, 1)
        for stage in range(4):
            channels, area = width * 2**stage, math.prod(-(-side // 2**stage) for side in image_shape[:2])
            if area * channels < 4 * GroupNorm(channels).groups:
                raise ValueError(
                    f"Of images of {image_shape[0]}x{image_shape[1]} pixels stage {stage + 1} of a ResNet keeps "
                    f"{area}, and with width={width} a group norm there has fewer than four numbers to normalise; "
                    "choose a greater width, such as 64."
                )
        stem_key, *keys = jr.split(key, 1 + sum(counts))
        self.stem = Conv(image_shape[2], width, key=stem_key)
        self.norm = GroupNorm(width)
        units, in_channels = [], width
        for stage, count in enumerate(counts):
            for i in range(count):
                channels, stride = width * 2**stage, 2 if stage > 0 and i == 0 else 1
                units.append(make(in_channels, channels, stride, key=keys[len(units)]))
                in_channels = expansion * channels
        self.units = tuple(units)
        self.image_shape = image_shape
        self.feature_size = in_channels

    def __call__(self, x: Image, *, key: Key | None = None) -> Float[Array, " feature_size"]:
        check_image_shape(x, self.image_shape)
        h = jnn.relu(self.norm(self.stem(to_float(x))))
        for unit in self.units:
            h = unit(h)
        return h.mean(axis=(0, 1))
