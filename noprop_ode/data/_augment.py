"""Random augmentation of training images, on the device."""

import functools
from dataclasses import dataclass

import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Int, Shaped

from .._types import Key
from ._errors import DatasetError


ImageBatch = Shaped[Array, "b h w c"]


@functools.partial(jax.jit, static_argnames=("padding", "flip"))
def crop_and_flip(images: ImageBatch, *, key: Key, padding: int = 4, flip: bool = True) -> ImageBatch:
    """Shift each image at random by up to `padding` pixels along each axis, and mirror it with probability 1/2.

    Pixels from outside the image are black, as in the CIFAR recipe of He et al. (arXiv 1512.03385, section 4.2).
    Shifts are products with a matrix of zeros and ones: exact, and several times faster than slicing each image at its
    own offset.

    **Arguments:**

    - `images`: shape `[b h w c]`, uint8 or floating point, with any number of channels.
    - `key`: randomness.
    - `padding`: the maximum shift in pixels; 0 for none.
    - `flip`: whether to mirror left and right.

    **Returns:**

    Images of the same shape and dtype.

    **Raises:**

    `DatasetError` for a negative padding.
    """
    _check_pixels(padding, "padding")
    batch, height, width, _ = images.shape
    row_key, column_key, flip_key = jr.split(key, 3)
    rows = _shifted(row_key, batch, height, padding)
    columns = _shifted(column_key, batch, width, padding)
    if flip:
        columns = jnp.where(jr.bernoulli(flip_key, 0.5, (batch, 1)), columns[:, ::-1], columns)
    return _pick(images, rows, columns)


@functools.partial(jax.jit, static_argnames="pixels")
def translate(images: ImageBatch, *, key: Key, pixels: int = 2) -> ImageBatch:
    """Shift each image at random by up to `pixels` pixels along each axis, with reflected edges.

    With 2 pixels and reflection this is the translation of airbench (Jordan, arXiv 2404.00498), whose networks
    learn CIFAR-10 in seconds.

    **Arguments:**

    - `images`: shape `[b h w c]`, uint8 or floating point, with any number of channels.
    - `key`: randomness.
    - `pixels`: the maximum shift; less than height and width.

    **Returns:**

    Images of the same shape and dtype.

    **Raises:**

    `DatasetError` for a negative shift, or one as large as the image.
    """
    _check_pixels(pixels, "pixels")
    batch, height, width, _ = images.shape
    if pixels >= min(height, width):
        raise DatasetError(f"expected a shift of less than {min(height, width)} pixels, got {pixels}")
    row_key, column_key = jr.split(key)
    rows = _reflected(_shifted(row_key, batch, height, pixels), height)
    columns = _reflected(_shifted(column_key, batch, width, pixels), width)
    return _pick(images, rows, columns)


@jax.jit
def mirror(images: ImageBatch, *, key: Key) -> ImageBatch:
    """Mirror each image left to right with probability 1/2 (Krizhevsky et al. 2012, section 4.1).

    **Arguments:**

    - `images`: shape `[b h w c]`, of any dtype, with any number of channels.
    - `key`: randomness.

    **Returns:**

    Images of the same shape and dtype.
    """
    chosen = jr.bernoulli(key, 0.5, (images.shape[0], 1, 1, 1))
    return jnp.where(chosen, images[:, :, ::-1], images)


@functools.partial(jax.jit, static_argnames="size")
def cutout(images: ImageBatch, *, key: Key, size: int = 8) -> ImageBatch:
    """Black out a square at a random position of each image (DeVries and Taylor, arXiv 1708.04552).

    The centre is uniform over the pixels, so a square may extend beyond the edge, as in the paper. Black is zero:
    augment before normalising.

    **Arguments:**

    - `images`: shape `[b h w c]`, of any dtype, with any number of channels.
    - `key`: randomness.
    - `size`: side of the square in pixels; 0 for none.

    **Returns:**

    Images of the same shape and dtype.

    **Raises:**

    `DatasetError` for a negative size.
    """
    _check_pixels(size, "size")
    batch, height, width, _ = images.shape
    row_key, column_key = jr.split(key)
    rows, columns = _inside(row_key, batch, height, size), _inside(column_key, batch, width, size)
    hidden = rows[:, :, None, None] & columns[:, None, :, None]
    return jnp.where(hidden, jnp.zeros((), images.dtype), images)


def _check_pixels(pixels: int, name: str) -> None:
    if pixels < 0:
        raise DatasetError(f"expected {name} of at least 0, got {pixels}")


@dataclass(frozen=True)
class Augmentation:
    """Mirrors, translates and cuts out, in this order: the fast CIFAR recipe by default.

    Pass it as `augment` to [`noprop_ode.fit`][]. The default is that of airbench (arXiv 2404.00498), except for its
    alternating flip, and without cutout, as in its shorter runs.

    **Arguments:**

    - `flip`: whether to apply [`noprop_ode.data.mirror`][]; not for digits or letters.
    - `pixels`: the maximum shift of [`noprop_ode.data.translate`][]; 0 for none.
    - `hole`: side of the square of [`noprop_ode.data.cutout`][]; 0 for none.

    **Raises:**

    `DatasetError` for negative numbers.
    """

    flip: bool = True
    pixels: int = 2
    hole: int = 0

    def __post_init__(self):
        if self.pixels < 0 or self.hole < 0:
            raise DatasetError(f"expected pixels and hole of at least 0, got {self.pixels} and {self.hole}")

    def __call__(self, images: ImageBatch, *, key: Key) -> ImageBatch:
        """Augment the images of a batch.

        **Arguments:**

        - `images`: shape `[b h w c]`, uint8 or floating point.
        - `key`: randomness.

        **Returns:**

        Images of the same shape and dtype.
        """
        return _augmented(self, images, key)


# One program, not one for each operation: less to compile, and on an accelerator one launch.
@functools.partial(jax.jit, static_argnums=0)
def _augmented(how: Augmentation, images: ImageBatch, key: Key) -> ImageBatch:
    flip_key, shift_key, hole_key = jr.split(key, 3)
    if how.flip:
        images = mirror(images, key=flip_key)
    if how.pixels:
        images = translate(images, key=shift_key, pixels=how.pixels)
    return cutout(images, key=hole_key, size=how.hole) if how.hole else images


def _shifted(key: Key, batch: int, size: int, most: int) -> Int[Array, "b size"]:
    """For each image, the source positions of its pixels along one axis."""
    return jr.randint(key, (batch, 1), -most, most + 1) + jnp.arange(size)[None]


def _reflected(positions: Int[Array, "b size"], size: int) -> Int[Array, "b size"]:
    positions = jnp.abs(positions)
    return jnp.minimum(positions, 2 * (size - 1) - positions)


def _inside(key: Key, batch: int, size: int, hole: int) -> Bool[Array, "b size"]:
    start = jr.randint(key, (batch, 1), 0, size) - hole // 2
    positions = jnp.arange(size)[None]
    return (positions >= start) & (positions < start + hole)


def _pick(images: ImageBatch, rows: Int[Array, "b h"], columns: Int[Array, "b w"]) -> ImageBatch:
    """Pixels at the given rows and columns of each image; black where a position is outside it."""
    # A position outside the image has a row of zeros.
    pick_rows = jnn.one_hot(rows, images.shape[1], dtype=jnp.float32)
    pick_columns = jnn.one_hot(columns, images.shape[2], dtype=jnp.float32)
    is_bytes = images.dtype == jnp.uint8
    # Bytes are exact in the 8 bits that an accelerator multiplies by default; other values need full precision.
    precision = None if is_bytes else jax.lax.Precision.HIGHEST
    moved = jnp.einsum("brh,bhwc->brwc", pick_rows, images.astype(jnp.float32), precision=precision)
    moved = jnp.einsum("bkw,brwc->brkc", pick_columns, moved, precision=precision)
    return (jnp.round(moved) if is_bytes else moved).astype(images.dtype)
