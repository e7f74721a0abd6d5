"""Images that stay on disk: read when they are needed, and ahead of an iteration over them."""

import abc
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from .._lazy import AbstractLazyImages
from ._errors import DatasetError
from ._read_ahead import InOrder, ReadAhead


# A worker takes seconds to start; this many images take one process longer than that.
_WORTH_WORKERS = 20_000


def check_stream(stream: bool, workers: int) -> None:
    """Refuse invalid streaming arguments, before anything is read.

    **Arguments:**

    - `stream`: whether images stay on disk.
    - `workers`: processes that decode them.

    **Raises:**

    `DatasetError` for workers with nothing to do.
    """
    if workers < 0 or (workers and not stream):
        raise DatasetError(
            f"expected workers of at least 0, and 0 without stream=True, got workers={workers}; "
            "images in memory are decoded already"
        )


class AbstractPictures(abc.ABC):
    """Pictures of one size on disk, which can be sent to another process."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of pictures."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of each picture."""

    @abc.abstractmethod
    def read(self, positions: Int[np.ndarray, " m"]) -> UInt8[np.ndarray, "m h w c"]:
        """Decode some pictures.

        **Arguments:**

        - `positions`: their positions, at least one.

        **Returns:**

        The images, in the order of the positions.

        **Raises:**

        `DatasetError` if images differ in size, are not 8-bit or cannot be read.
        """


class StreamedImages(AbstractLazyImages):
    """The `images` of a [`noprop_ode.data.Dataset`][] that was loaded with `stream=True`: on disk, and decoded when
    they are needed.

    They are indexed like an array, by a position, a slice, an array of positions or a mask, and return an array of the
    selected images; `shape`, `dtype`, `ndim` and `len` are those of an array of all images. They are not an array, so
    that nothing reads all of them by accident: `numpy.asarray` raises `TypeError`.
    """

    def __init__(
        self,
        pictures: AbstractPictures,
        identities: UInt8[np.ndarray, "n k"],
        *,
        workers: int = 0,
        positions: Int[np.ndarray, " m"] | None = None,
    ):
        """Decodes at most one image.

        **Arguments:**

        - `pictures`: where the images are.
        - `identities`: what identifies each picture, such as a checksum.
        - `workers`: processes that decode ahead of training; 0 for a thread of this process.
        - `positions`: which of the pictures, in which order; all of them by default.
        """
        self._pictures, self._identities, self.workers = pictures, identities, workers
        self._positions = np.arange(len(pictures)) if positions is None else positions
        self._shape = pictures.shape

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an array of all images."""
        return (len(self._positions), *self._shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        chosen = self._positions[index]
        if np.ndim(chosen) == 0:
            return self._pictures.read(np.array([chosen]))[0]
        if len(chosen) == 0:
            return np.empty((0, *self._shape), np.uint8)
        return self._pictures.read(chosen)

    def take(self, indices: Any) -> "StreamedImages":
        """Select images and leave them on disk.

        **Arguments:**

        - `indices`: positions, or a mask over all images; anything that can index an array.

        **Returns:**

        The images selected, in the order given.

        **Raises:**

        `IndexError` if a position is out of range or the mask has another length.
        """
        return StreamedImages(
            self._pictures, self._identities, workers=self.workers, positions=self._positions[indices]
        )

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """All images in their order.

        **Arguments:**

        - `size`: images at a time; the last array may have fewer.

        **Returns:**

        An iterator over arrays, which decodes the next one while the current one is in use.
        """
        if size < 1:
            raise ValueError(f"Images are read one or more at a time; got size={size}.")
        workers = self.workers if len(self) >= _WORTH_WORKERS else 0
        ahead = ReadAhead(self, InOrder(len(self), size), workers=workers)
        try:
            yield from ahead
        finally:
            ahead.close()

    def fingerprint(self) -> str:
        """Identifies these images: a checksum of the pictures' identities and of their order."""
        digest = hashlib.blake2b(repr(self.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self._identities[self._positions]).data)
        return digest.hexdigest()
