"""Decodes pictures with Pillow, one way for all that are read from disk."""

import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ._errors import require


SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # of Pillow, by the number of channels

# What Pillow reads by itself; others, PostScript above all, would start a program.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
_ORIENTATION = 0x0112  # tag of EXIF 2.3; values of 5 and more lie on their side


def opened(file: Path | io.BytesIO, read: Callable[[Any], Any]) -> Any:
    """Open one picture and read from it.

    **Arguments:**

    - `file`: where it is.
    - `read`: takes the picture, a `PIL.Image.Image`.

    **Returns:**

    What `read` returns.

    **Raises:**

    `ValueError` for what is no picture, or one of more pixels than `PIL.Image.MAX_IMAGE_PIXELS`; anything, for damaged
    files.
    """
    pil = require("PIL.Image")
    _ignore_odd_metadata()
    try:
        picture = pil.open(file, formats=_FORMATS)
    except require("PIL").UnidentifiedImageError as error:
        raise ValueError(f"it is none of {', '.join(_FORMATS)}") from error
    with picture:
        (width, height), most = picture.size, pil.MAX_IMAGE_PIXELS
        # Pillow itself only warns of up to twice as many.
        if most is not None and width * height > most:
            raise ValueError(f"it has {width}x{height} pixels, more than PIL.Image.MAX_IMAGE_PIXELS, {most}")
        return read(picture)


def upright(picture: Any) -> Any:
    """Turn a picture as its camera says.

    **Arguments:**

    - `picture`: a `PIL.Image.Image`.

    **Returns:**

    Another.
    """
    return require("PIL.ImageOps").exif_transpose(picture)


def upright_size(picture: Any) -> tuple[int, int]:
    """Height and width of a picture as it is looked at.

    **Arguments:**

    - `picture`: a `PIL.Image.Image`; only its head is read, unless it is a TIFF that lies on its side.

    **Returns:**

    The two.
    """
    sideways = picture.getexif().get(_ORIENTATION, 1) >= 5
    if sideways and picture.format == "TIFF":
        # Some releases of Pillow turn a TIFF's size when they open it, and others when they decode it.
        width, height = upright(picture).size
        return height, width
    return picture.size if sideways else picture.size[::-1]


def pixels(picture: Any, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Decode a picture of any mode, as it is stored. What has the mode already keeps its bits.

    **Arguments:**

    - `picture`: a `PIL.Image.Image`.
    - `channels`: a key of `MODES`.

    **Returns:**

    The pixels; 16 bits and floating point in [0, 1] rounded to 8 bits.

    **Raises:**

    `ValueError` for pixels of another range.
    """
    if picture.mode.startswith("I") or picture.mode == "F":  # grey, which Pillow would clip to 255
        most = 1 if picture.mode == "F" else 65535
        values = np.asarray(picture).astype(np.float64)
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= most):  # NaN is in no range
            raise ValueError(f"its pixels lie in [{low:g}, {high:g}], expected [0, {most}]")
        picture = require("PIL.Image").fromarray(np.rint(values * (255 / most)).astype(np.uint8))
    image = np.asarray(picture.convert(MODES[channels]))
    return image.reshape(*image.shape[:2], channels)


def _ignore_odd_metadata() -> None:
    # Not by `catch_warnings`, which belongs to the whole process: where two threads leave it in another order than they
    # came, all warnings stay off. A filter that is there is not put in again, since every change of the filters has
    # warnings shown again that were shown once.
    if ("ignore", None, UserWarning, re.compile(r"PIL\."), 0) not in warnings.filters:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
