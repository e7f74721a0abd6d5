"""Resizes images, the same way for everything that is read from disk."""

import numpy as np
from jaxtyping import UInt8

from ._errors import DatasetError, require


def check_size(image_size: tuple[int, int] | None) -> None:
    """Refuse an invalid size, before anything is read.

    **Arguments:**

    - `image_size`: height and width in pixels, or `None`.

    **Raises:**

    `DatasetError`.
    """
    if image_size is not None and min(image_size) < 1:
        raise DatasetError(f"expected image_size as (height, width) in pixels, got {image_size}")


def resize(image: UInt8[np.ndarray, "h w c"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Resize one image bilinearly.

    **Arguments:**

    - `image`: pixel values 0..255, with 1 to 4 channels, as `pixels` decodes them.
    - `size`: height and width to resize to.

    **Returns:**

    The resized image; the image itself if it already has that size.
    """
    if image.shape[:2] == tuple(size):
        return image
    pil = require("PIL.Image")
    picture = pil.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    resized = np.asarray(picture.resize((size[1], size[0]), pil.Resampling.BILINEAR))
    return resized.reshape(*size, image.shape[2])
