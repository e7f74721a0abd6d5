"""Several views of an image, whose probabilities are averaged: mirrored, and moved by some pixels."""

from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from .._choices import Prediction
from .._types import Image


# Whether left and right are swapped, and by how many pixels the view is moved down and to the right.
View: TypeAlias = tuple[bool, int, int]


def views_of(*, mirror: bool, shift: int) -> tuple[View, ...]:
    """The views of an image: unchanged, and moved by `shift` pixels towards each of its corners; then the same for its
    mirror image. Beyond an edge, the image is reflected, as in [`noprop_ode.data.translate`][]."""
    moves = [(0, 0), *((down * shift, right * shift) for down in (-1, 1) for right in (-1, 1) if shift)]
    return tuple((flip, *move) for flip in ((False, True) if mirror else (False,)) for move in moves)


def views_asked(prediction: Prediction) -> tuple[View, ...]:
    """The views that a prediction averages over."""
    return views_of(mirror=prediction.mirror, shift=prediction.shift)


def viewed_one(x: Image, view: View) -> Image:
    """One view of an image.

    **Raises:** `ValueError` for anything but `[height, width, channels]`, or a shift as large as the image.
    """
    if not any(view):
        return x
    _check(jnp.shape(x), view)
    return _viewed_one(jnp.asarray(x), jnp.asarray(view, jnp.int32))


def viewed(xs: Shaped[Array, "n *image"], view: View) -> Shaped[Array, "n *image"]:
    """One view of each image of a batch, in one program for all views."""
    if not any(view):
        return xs
    _check(jnp.shape(xs)[1:], view)
    return _viewed(xs, jnp.asarray(view, jnp.int32))


def _check(shape: tuple[int, ...], view: View) -> None:
    if len(shape) != 3:
        raise ValueError(f"What is mirrored or shifted is an image, [height, width, channels]; got shape {shape}.")
    most = max(abs(view[1]), abs(view[2]))
    if most >= min(shape[:2]):
        raise ValueError(f"Expected a shift of less than {min(shape[:2])} pixels, the side of the image; got {most}.")


def _viewed_one(x: Image, view: Int[Array, "3"]) -> Image:
    flip, down, right = view
    height, width, _ = x.shape
    rows = _reflected(jnp.arange(height) - down, height)
    columns = _reflected(jnp.arange(width) - right, width)
    return x[rows][:, jnp.where(flip == 1, width - 1 - columns, columns)]


_viewed = jax.jit(jax.vmap(_viewed_one, in_axes=(0, None)))


def _reflected(at: Int[Array, " side"], side: int) -> Int[Array, " side"]:
    inside = jnp.abs(at)
    return jnp.minimum(inside, 2 * (side - 1) - inside)
