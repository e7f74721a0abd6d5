"""Image files from anybody: only the supported formats are opened, whatever a file is called."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ...data._decode import MODES, SUFFIXES, opened, pixels, upright
from ...data._errors import MissingDependencyError
from ...data._resize import resize
from .._errors import RunError
from ._text import printable


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuses a shape that no image file can have.

    **Raises:** `RunError`.
    """
    if len(shape) != 3 or shape[2] not in MODES:
        raise RunError(f"The model expects arrays of {list(shape)}, which no image file holds; predict from Python.")


def find_images(path: Path) -> list[Path]:
    """A file, or the image files in a folder and its subfolders, in order; hidden ones and links to folders are
    left out.

    **Raises:** `RunError` if there is none.
    """
    if path.is_dir():
        files = sorted(_walk(path))
        if not files:
            raise RunError(f"There is no PNG or JPEG file (nor GIF, BMP, TIFF, WebP or PPM) in {printable(path)}.")
        return files
    if not path.exists():
        raise RunError(f"There is no file {printable(path)}.")
    return [path]


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(where, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file():
                yield path


def read_image(path: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, "h w c"]:
    """An image file, read like the training images of `noprop_ode.data.from_folder`, and converted to a shape.

    **Arguments:** the file, and `[height, width, channels]`.

    **Raises:** `RunError` for a file that is not an image of a supported format.
    """
    height, width, channels = shape
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("it is not a regular file")
        return resize(opened(path, lambda picture: pixels(upright(picture), channels)), (height, width))
    except MissingDependencyError:
        raise
    except Exception as error:  # decoders of damaged files raise anything
        reason = printable(error) or type(error).__name__
        raise RunError(f"{printable(path)} is not an image that can be read: {reason}") from error
