"""Picture files of any format that Pillow reads by itself, decoded to one size as they are needed."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from ._decode import opened, pixels, upright, upright_size
from ._errors import DatasetError, MissingDependencyError
from ._resize import resize
from ._streamed import AbstractPictures


class PictureFiles(AbstractPictures):
    """Picture files, by their paths."""

    def __init__(self, paths: tuple[str, ...], image_size: tuple[int, int] | None, shape: tuple[int, int, int]):
        """Opens no file yet.

        **Arguments:**

        - `paths`: paths of the files.
        - `image_size`: height and width to resize every image to, or `None` to keep their size.
        - `shape`: height, width and channels that every image then has.
        """
        self._paths, self._size, self._shape = paths, image_size, shape

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels."""
        return self._shape

    def read(self, positions: Int[np.ndarray, " m"]) -> UInt8[np.ndarray, "m h w c"]:
        """Decode the images at the given positions, in that order."""
        images = np.empty((len(positions), *self._shape), np.uint8)
        for i, position in enumerate(positions.tolist()):
            path = Path(self._paths[position])
            image = _decoded(path, lambda picture: pixels(upright(picture), self._shape[2]))
            image = image if self._size is None else resize(image, self._size)
            if image.shape != self._shape:
                raise DatasetError(f"expected {path} to be an image of {self._shape}, as before, got {image.shape}")
            images[i] = image
        return images

    def identities(self) -> UInt8[np.ndarray, "n k"]:
        """Eight bytes per file that identify it by name, folder and length, without opening it."""
        found = [f"{os.path.join(*Path(path).parts[-2:])}:{_length(path)}" for path in self._paths]
        digests = [hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest() for text in found]
        return np.frombuffer(b"".join(digests), np.uint8).reshape(len(found), 8)


def upright_size_and_mode(path: Path) -> tuple[tuple[int, int], str]:
    """Height and width of a picture once it is upright, and Pillow's mode of its pixels, from the file header.

    **Arguments:**

    - `path`: the file.

    **Returns:**

    Size and mode.

    **Raises:**

    `DatasetError` naming a file that cannot be read.
    """
    return _decoded(path, lambda picture: (upright_size(picture), picture.mode))


def _length(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}; was it moved away?") from error


def _decoded(path: Path, read: Any) -> Any:
    """Open one picture and read from it; every error names the file."""
    try:
        return opened(path, read)
    except MissingDependencyError:
        raise
    except MemoryError as error:
        raise DatasetError(f"{path} takes more memory than there is; remove it or make it smaller") from error
    except Exception as error:  # Pillow's readers raise anything for damaged files
        raise DatasetError(f"cannot read {path} as an image: {error}; remove it or save it again") from error
