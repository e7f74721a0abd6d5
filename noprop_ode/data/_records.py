"""The images of one split of a prepared folder, decoded as they are needed."""

import contextlib
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Int32, UInt8

from ._decode import opened, pixels
from ._errors import DatasetError
from ._resize import resize
from ._streamed import AbstractPictures


class Records(AbstractPictures):
    """The records of one split; they can be sent to another process and read there."""

    def __init__(
        self,
        folder: Path,
        split: str,
        source: Any,
        keys: tuple[str, str],
        channels: int,
        image_size: tuple[int, int] | None,
    ):
        """Reads no record yet.

        **Arguments:**

        - `folder`, `split`: for messages.
        - `source`: the data source of TFDS, set to leave images encoded: it would take palette indices, and the 0 and 1
          of one-bit images, for pixels.
        - `keys`: names of image and label in a record.
        - `channels`: of every image, 1, 3 or 4.
        - `image_size`: height and width to resize every image to, or `None` to keep their size.
        """
        self.folder, self.split, self._source, self._keys = folder, split, source, keys
        self._channels, self._size = channels, image_size
        self._shape: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self._source)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of every image, from the first."""
        return self._shape or self.read(np.zeros(1, np.int64)).shape[1:]

    def read(self, positions: Int[np.ndarray, " m"]) -> UInt8[np.ndarray, "m h w c"]:
        return self.read_labelled(positions)[0]

    def read_labelled(
        self, positions: Int[np.ndarray, " m"]
    ) -> tuple[UInt8[np.ndarray, "m h w c"], Int32[np.ndarray, " m"]]:
        """Like `read`, with the labels."""
        with self._telling():
            examples = self._source.__getitems__(positions.tolist())
            images = self._stack([self._decoded(example[self._keys[0]]) for example in examples])
            return images, np.array([example[self._keys[1]] for example in examples], np.int32)

    def read_encoded(
        self, positions: Int[np.ndarray, " m"]
    ) -> tuple[UInt8[np.ndarray, "m 1 1 8"], Int32[np.ndarray, " m"]]:
        """Checksums of the images as they are stored, and labels."""
        with self._telling():
            examples = self._source.__getitems__(positions.tolist())
            digests = [hashlib.blake2b(example[self._keys[0]], digest_size=8).digest() for example in examples]
            checksums = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 1, 1, 8)
            return checksums, np.array([example[self._keys[1]] for example in examples], np.int32)

    def _decoded(self, encoded: bytes) -> UInt8[np.ndarray, "h w c"]:
        # Not rotated by EXIF orientation: TFDS does not, and published results use the pixels as they are stored.
        image = opened(io.BytesIO(encoded), lambda picture: pixels(picture, self._channels))
        return image if self._size is None else resize(image, self._size)

    def _stack(self, images: Sequence[np.ndarray]) -> UInt8[np.ndarray, "m h w c"]:
        shapes = {image.shape for image in images} | ({self._shape} if self._shape else set())
        if len(shapes) > 1:  # never for resized images
            two = " and ".join(str(shape) for shape in sorted(shapes)[:2])
            raise DatasetError(
                f"expected images of one size in {self.folder}, got {two}; "
                "pass image_size=(height, width) to resize them all"
            )
        (self._shape,) = shapes
        return np.stack(images)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except DatasetError:
            raise
        except Exception as error:  # C++ readers, protobuf and Pillow raise anything for damaged files
            raise DatasetError(
                f"cannot read split {self.split!r} of {self.folder}: {error}; if a file there is damaged, "
                "delete the folder and prepare it again"
            ) from error
