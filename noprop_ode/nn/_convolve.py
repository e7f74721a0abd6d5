"""A convolution with a gradient that is fast on CPU."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


ImageLike = Float[Array, "height width in_channels"]
Kernel = Float[Array, "size size in_channels out_channels"]
Output = Float[Array, "new_height new_width out_channels"]


def _convolve(x: ImageLike, weight: Kernel, stride: int) -> Output:
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x[None], weight, (stride, stride), "SAME", dimension_numbers=dimensions)[0]


def _unfold(x: ImageLike, size: int, stride: int) -> Float[Array, "new_height new_width patch"]:
    """The `size * size * in_channels` inputs of each output pixel, zero outside of the image."""
    pads = jax.lax.padtype_to_pads(x.shape[:2], (size, size), (stride, stride), "SAME")
    height, width = (-(-side // stride) for side in x.shape[:2])
    padded = jnp.pad(x, (*pads, (0, 0)))

    def shifted(i: int, j: int) -> Array:
        return padded[i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]

    return jnp.concatenate([shifted(i, j) for i in range(size) for j in range(size)], axis=-1)


def _multiply_patches(x: ImageLike, weight: Kernel, stride: int) -> Output:
    return _unfold(x, weight.shape[0], stride) @ weight.reshape(-1, weight.shape[-1])


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def convolve(x: ImageLike, weight: Kernel, stride: int) -> Output:
    """A convolution of one image, "same" padding, whose gradient in the weight is fast on CPU.

    XLA computes that gradient on CPU as a convolution with a kernel of the size of the image, at a third of the speed
    of the forward pass. The derivative in the direction of the weight is itself a convolution, and how it is written
    is how its transpose, the gradient, is computed: as a product of patches and a matrix, the gradient is a matrix
    product too, over the whole batch at once under `vmap`.
    """
    return _convolve(x, weight, stride)


@convolve.defjvp
def _convolve_jvp(stride: int, primals: tuple[Array, Array], tangents: tuple[Array, Array]):
    (x, weight), (x_dot, weight_dot) = primals, tangents
    by_weight = jax.lax.platform_dependent(
        x,
        weight_dot,
        cpu=functools.partial(_multiply_patches, stride=stride),
        default=functools.partial(_convolve, stride=stride),
    )
    return convolve(x, weight, stride), convolve(x_dot, weight, stride) + by_weight
