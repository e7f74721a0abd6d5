"""Images that are read when they are asked for, which training and prediction take in place of an array."""

import abc
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np


class AbstractLazyImages(abc.ABC):
    """Images of one size in bytes that are not in memory: what is asked for by position is read, and no more."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """That of an array of all: `(n, height, width, channels)`."""

    @abc.abstractmethod
    def __getitem__(self, index: Any) -> np.ndarray:
        """The images at a position, a slice, an array of positions or a mask, as an array in memory."""

    @abc.abstractmethod
    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """All images in their order, `size` at a time; those that come next are read ahead."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """What tells these images from others without decoding them."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Bytes."""
        return np.dtype(np.uint8)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        # NumPy would otherwise ask for them one by one, and fill the memory without a word.
        raise TypeError(
            f"expected an array, got {len(self)} images that are read from disk as they are asked for; take some by "
            "images[:100] or images[positions], or load the data without stream=True"
        )
