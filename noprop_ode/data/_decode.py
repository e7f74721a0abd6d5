"""Decodes pictures with Pillow, the same way for everything that is read from disk."""

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
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # Pillow's, by the number of channels

# Formats that Pillow reads by itself; others, above all PostScript, would start a program.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
_ORIENTATION = 0x0112  # EXIF 2.3 tag; a picture with a value of 5 or more is on its side


def opened(file: Path | io.BytesIO, read: Callable[[Any], Any]) -> Any:
    """Open one picture and read from it.

    **Arguments:**

    - `file`: its path, or its bytes.
    - `read`: called with the picture, a `PIL.Image.Image`.

    **Returns:**

    What `read` returns.

    **Raises:**

    `ValueError` for a file that is not a picture, or has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`; anything, for
    damaged files.
    """
    pil = require("PIL.Image")
    _ignore_odd_metadata()
    try:
        picture = pil.open(file, formats=_FORMATS)
    except require("PIL").UnidentifiedImageError as error:
        raise ValueError(f"it is none of {', '.join(_FORMATS)}") from error
    with picture:
        (width, height), most = picture.size, pil.MAX_IMAGE_PIXELS
        # Pillow itself only warns, up to twice as many.
        if most is not None and width * height > most:
            raise ValueError(f"it has {width}x{height} pixels, more than PIL.Image.MAX_IMAGE_PIXELS, {most}")
        return read(picture)


def upright(picture: Any) -> Any:
    """Rotate a picture according to its EXIF orientation.

    **Arguments:**

    - `picture`: a `PIL.Image.Image`.

    **Returns:**

    The rotated picture.
    """
    return require("PIL.ImageOps").exif_transpose(picture)


def upright_size(picture: Any) -> tuple[int, int]:
    """Height and width of a picture once it is upright.

    **Arguments:**

    - `picture`: a `PIL.Image.Image`; only its header is read, unless it is a TIFF that is on its side.

    **Returns:**

    Height and width.
    """
    sideways = picture.getexif().get(_ORIENTATION, 1) >= 5
    if sideways and picture.format == "TIFF":
        # Some releases of Pillow rotate a TIFF's size when they open it, and others when they decode it.
        width, height = upright(picture).size
        return height, width
    return picture.size if sideways else picture.size[::-1]


def pixels(picture: Any, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Decode a picture of any mode, as it is stored. One that already has the right mode keeps its exact values.

    **Arguments:**

    - `picture`: a `PIL.Image.Image`.
    - `channels`: a key of `MODES`.

    **Returns:**

    The pixels; 16-bit values and floating point in [0, 1] are rounded to 8 bits.

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
    # Not with `catch_warnings`, which affects the whole process: if two threads leave it in another order than they
    # entered it, all warnings stay off. An existing filter is not added again, because every change of the filters
    # makes warnings that were already shown appear again.
    if ("ignore", None, UserWarning, re.compile(r"PIL\."), 0) not in warnings.filters:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
