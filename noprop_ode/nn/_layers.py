"""The layers: linear and normalisation from Equinox with our initial values, and channels-last convolutions."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from .._types import Key, Scalar


def Linear(in_size: int, out_size: int, *, key: Key) -> eqx.nn.Linear:
    r"""An Equinox linear layer, $W x + b$, with He-uniform weights and a bias that starts at zero.

    A function, not a class: the layer is an `equinox.nn.Linear`, and differs only in its initial values.

    **Arguments:**

    - `in_size`, `out_size`: number of inputs and outputs.
    - `key`: initialises the weight, uniform in $\pm\sqrt{6 / \mathrm{in\_size}}$ (He et al. 2015).

    **Returns:** the layer, from `[in_size]` to `[out_size]`.

    **Raises:** `ValueError` for a size below one.
    """
    _check_sizes(in_size, out_size)
    # Equinox's own initial values are not drawn: they would be thrown away.
    layer = eqx.filter_eval_shape(eqx.nn.Linear, in_size, out_size, dtype=jnp.float32, key=key)
    values = _he_uniform((out_size, in_size), in_size, key), jnp.zeros(out_size, jnp.float32)
    return eqx.tree_at(lambda layer: (layer.weight, layer.bias), layer, values)


def LayerNorm(size: int) -> eqx.nn.LayerNorm:
    """Layer normalisation of a vector, with learned scale and offset (Ba, Kiros and Hinton, 2016, arXiv 1607.06450):
    an `equinox.nn.LayerNorm` in float32.

    **Arguments:** `size`, the length of the vector.

    **Returns:** the layer, from `[size]` to `[size]`. Its moments are computed in float32, whatever dtype it runs in.

    **Raises:** `ValueError` for a size below one.
    """
    _check_sizes(size)
    return eqx.nn.LayerNorm(size, dtype=jnp.float32)


class Conv(eqx.Module):
    """A square convolution of a height-width-channel image, "same" padding.

    Channels come last because that is faster on CPU than channels first, and is how data sets store images.
    """

    weight: Float[Array, "size size in_channels out_channels"]
    bias: Float[Array, " out_channels"]
    stride: int = eqx.field(static=True)

    def __init__(self, in_channels: int, out_channels: int, *, size: int = 3, stride: int = 1, key: Key):
        """**Arguments:**

        - `in_channels`, `out_channels`: number of channels.
        - `size`: side of the kernel, in pixels.
        - `stride`: pixels from one output to the next.
        - `key`: initialises the weight, He-uniform; the bias starts at zero.

        **Raises:** `ValueError` for a number below one.
        """
        _check_sizes(in_channels, out_channels, size, stride)
        self.weight = _he_uniform((size, size, in_channels, out_channels), size**2 * in_channels, key)
        self.bias = jnp.zeros(out_channels, jnp.float32)
        self.stride = stride

    def __call__(
        self, x: Float[Array, "height width in_channels"]
    ) -> Float[Array, "new_height new_width out_channels"]:
        """**Arguments:** `x`, shape `[height, width, in_channels]`. **Returns:** height and width divided by the
        stride, rounded up, and `out_channels`."""
        x, strides = x.astype(self.weight.dtype), (self.stride, self.stride)
        dimensions = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x[None], self.weight, strides, "SAME", dimension_numbers=dimensions)
        return y[0] + self.bias[None, None]


class GroupNorm(eqx.Module):
    """Group normalisation of a height-width-channel image (Wu and He, 2018, arXiv 1803.08494): no batch statistics."""

    scale: Float[Array, " channels"]
    offset: Float[Array, " channels"]
    groups: int = eqx.field(static=True)

    def __init__(self, channels: int, *, groups: int = 32):
        """**Arguments:**

        - `channels`: number of channels.
        - `groups`: number of groups; the greatest common divisor with the channels is used.

        **Raises:** `ValueError` for a number below one.
        """
        _check_sizes(channels, groups)
        self.scale = jnp.ones(channels, jnp.float32)
        self.offset = jnp.zeros(channels, jnp.float32)
        self.groups = math.gcd(channels, groups)

    def __call__(self, x: Float[Array, "height width channels"]) -> Float[Array, "height width channels"]:
        """**Arguments:** `x`, shape `[height, width, channels]`. **Returns:** the same shape."""
        height, width, channels = x.shape
        grouped = x.astype(jnp.float32).reshape(height, width, self.groups, channels // self.groups)
        centred = grouped - jnp.mean(grouped, axis=(0, 1, 3), keepdims=True)
        variance = jnp.mean(centred**2, axis=(0, 1, 3), keepdims=True)
        normal = (centred * jax.lax.rsqrt(variance + 1e-5)).reshape(x.shape).astype(x.dtype)
        return normal * self.scale[None, None] + self.offset[None, None]


def max_pool(x: Float[Array, "height width channels"]) -> Float[Array, "half_height half_width channels"]:
    """Takes the maximum over 2x2 squares; an odd last row or column is dropped.

    **Arguments:**

    - `x`: shape `[height, width, channels]`.

    **Returns:** shape `[height // 2, width // 2, channels]`.
    """
    height, width, channels = x.shape
    x = x[: height // 2 * 2, : width // 2 * 2]
    # As a reshape: its gradient is a comparison, several times faster on CPU than that of a windowed reduction.
    return x.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))


def dropout(x: Float[Array, "*shape"], rate: float, key: Key | None) -> Float[Array, "*shape"]:
    """Sets a share of the entries to zero and scales the others to preserve the mean.

    The rate is rounded to a multiple of 1/256: one random byte is drawn per entry, a quarter of the memory of a float.

    **Arguments:**

    - `x`: any shape.
    - `rate`: share of entries to drop, in [0, 1).
    - `key`: randomness; `None` switches dropout off.

    **Returns:** the same shape.
    """
    dropped = min(round(256 * rate), 255)
    if key is None or dropped == 0:
        return x
    keep = jr.bits(key, x.shape, jnp.uint8) >= dropped
    return jnp.where(keep, x * (256 / (256 - dropped)), 0)


def time_embedding(t: Scalar, size: int) -> Float[Array, " size"]:
    r"""Sinusoidal features of time, $\sin(\omega_i t)$ and $\cos(\omega_i t)$ with frequencies from 1 to 32 in
    geometric progression.

    The usual top frequency of 1000 makes the vector field jitter in time, so that adaptive solvers need many times more
    steps.

    ??? cite "Reference"

        Vaswani et al., *Attention Is All You Need*, 2017 (arXiv 1706.03762), section 3.5, on a continuous time.

    **Arguments:**

    - `t`: time in [0, 1].
    - `size`: number of features, even.

    **Returns:** shape `[size]`, float32; cast it to the dtype of the state, which is that of the network.

    **Raises:** `ValueError` for an odd number.
    """
    check_time_size(size)
    frequencies = jnp.geomspace(1.0, 32.0, size // 2, dtype=jnp.float32)

    return jnp.concatenate([jnp.sin(frequencies * t), jnp.cos(frequencies * t)])


def check_time_size(size: int) -> None:
    """**Raises:** `ValueError` for a number of features of time that is not even."""
    if size < 2 or size % 2:
        raise ValueError(f"A sine and a cosine for each frequency: the number of features is even; got {size}.")


def _he_uniform(shape: tuple[int, ...], fan_in: int, key: Key) -> Float[Array, "..."]:
    bound = (6 / fan_in) ** 0.5
    return jr.uniform(key, shape, jnp.float32, -bound, bound)


def _check_sizes(*sizes: int) -> None:
    if min(sizes) < 1:
        raise ValueError(f"The sizes of a layer are at least 1; got {', '.join(map(str, sizes))}.")
