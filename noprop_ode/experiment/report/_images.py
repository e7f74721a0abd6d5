"""Image files of anybody's: only the formats meant here are opened, whatever a file is called."""

import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from .._errors import RunError
from ._text import printable


# Never PostScript, for which Pillow starts Ghostscript, nor anything else that runs a program.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def mode_of(shape: tuple[int, ...]) -> str:
    """The Pillow mode for images of a shape.

    **Raises:** `RunError` for a shape that no image file gives.
    """
    if len(shape) != 3 or shape[2] not in _MODES:
        raise RunError(f"The model expects arrays of {list(shape)}, which no image file holds; predict from Python.")
    return _MODES[shape[2]]


def find_images(path: Path) -> list[Path]:
    """A file, or the image files in a folder and the folders in it, in order; hidden ones and links to folders are
    left out.

    **Raises:** `RunError` if there is none.
    """
    if path.is_dir():
        files = sorted(_walk(path))
        if not files:
            raise RunError(f"There is no PNG or JPEG file (nor GIF, BMP, TIFF or WebP) in {printable(path)}.")
        return files
    if not path.exists():
        raise RunError(f"There is no file {printable(path)}.")
    return [path]


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(where, name)
            if not name.startswith(".") and path.suffix.lower() in _SUFFIXES and path.is_file():
                yield path


def read_image(path: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, "h w c"]:
    """An image file, brought to a shape.

    **Arguments:** the file, and `[height, width, channels]`.

    **Raises:** `RunError` for a file that is no image of a format meant here.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    height, width, _ = shape
    Image.init()
    formats = [name for name in _FORMATS if name in Image.OPEN]
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is not a regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata and large pictures; what cannot be read is an error
            with Image.open(path, formats=formats) as image:
                # Cameras store how they were held beside the pixels.
                found = _eight_bits(ImageOps.exif_transpose(image)).convert(mode_of(shape))
        if found.size != (width, height):
            found = found.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(found, np.uint8).reshape(shape)
    except UnidentifiedImageError as error:
        reason = "it is none of " + ", ".join(formats)
        raise RunError(f"{printable(path)} is not an image that can be read: {reason}.") from error
    except RunError:
        raise
    except Exception as error:  # decoders of damaged files raise anything
        reason = printable(error) or type(error).__name__
        raise RunError(f"{printable(path)} is not an image that can be read: {reason}") from error


def _eight_bits(image: Any) -> Any:
    """Sixteen bits, which Pillow would clip to 255, scaled to eight."""
    from PIL import Image

    if not (image.mode.startswith("I") or image.mode == "F"):
        return image
    values = np.asarray(image).astype(np.float64)
    low, high = (0.0, 1.0) if image.mode == "F" else (0.0, 65535.0)
    if not (np.isfinite(values).all() and values.min() >= low and values.max() <= high):
        raise ValueError(f"its pixels lie in [{values.min():g}, {values.max():g}], expected [{low:g}, {high:g}]")
    return Image.fromarray(np.round(values * (255 / high)).astype(np.uint8))
