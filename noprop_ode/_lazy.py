"""Images that are read on demand, which training and prediction accept in place of an array."""

import abc
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np


class AbstractLazyImages(abc.ABC):
    """Images of one size, as bytes, that are not in memory: indexing reads only the images asked for."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of an array of all images: `(n, height, width, channels)`."""

    @abc.abstractmethod
    def __getitem__(self, index: Any) -> np.ndarray:
        """The images at a position, a slice, an array of positions or a mask, as an array in memory."""

    @abc.abstractmethod
    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """All images in order, `size` at a time; the next ones are read ahead."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Distinguishes these images from others, without decoding them."""

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
        # NumPy would otherwise read them one by one, and silently fill the memory.
        raise TypeError(
            f"expected an array, got {len(self)} images that are read from disk as they are asked for; take some by "
            "images[:100] or images[positions], or load the data without stream=True"
        )
