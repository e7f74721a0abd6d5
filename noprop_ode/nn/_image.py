"""What every encoder does first with an image."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Image


def to_float(x: Image) -> Float[Array, "*image"]:
    """Pixels as floating point in [0, 1], for the first line of an encoder.

    **Arguments:**

    - `x`: an image; uint8 in [0, 255], or floating point, taken as it is.

    **Returns:** the same shape in float32, or in the dtype of the image if that is smaller, as inside
    [`noprop_ode.nn.LowPrecision`][].

    **Raises:** `TypeError` for another dtype.
    """
    x = jnp.asarray(x)
    if x.dtype == jnp.uint8:
        return x.astype(jnp.float32) / 255
    if jnp.issubdtype(x.dtype, jnp.floating):
        return x.astype(jnp.float32) if x.dtype.itemsize > 4 else x
    raise TypeError(f"Images are uint8 in [0, 255] or floating point in [0, 1]; got dtype {x.dtype}.")


def check_image_shape(x: Image, expected: tuple[int, int, int]) -> None:
    """Refuses an image of a shape that the network was not built for.

    **Raises:** `ValueError`.
    """
    if x.shape != expected:
        raise ValueError(
            f"Expected one image of shape {expected} (height, width, channels), got shape {x.shape}. Build the field "
            "with image_shape of the data set. Functions of many images take one as x[None]; over a function of one, "
            "map (jax.vmap)."
        )
