"""Mean and standard deviation of pixels."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Shaped

from ._streamed import StreamedImages


_CHUNK = 2**22  # pixels summed at a time: eight bytes each


def moments(images: Shaped[np.ndarray, "n *image"] | StreamedImages) -> tuple[float, float]:
    """Mean and standard deviation of all pixels, in float64 and a few megabytes.

    **Arguments:**

    - `images`: bytes, which are scaled to [0, 1], or floating point.

    **Returns:**

    Mean and standard deviation.
    """
    if images.dtype == np.uint8:
        # A histogram is exact and fast: float64 sums over the 256 values of a byte.
        counts = sum(np.bincount(chunk, minlength=256) for chunk in _pixels(images)) / math.prod(images.shape)
        values = np.arange(256) / 255
        mean = float(counts @ values)
        return mean, float(np.sqrt(counts @ (values - mean) ** 2))
    size = math.prod(images.shape)
    mean = sum(float(chunk.sum(dtype=np.float64)) for chunk in _pixels(images)) / size
    squares = sum(float(np.square(chunk.astype(np.float64) - mean).sum()) for chunk in _pixels(images))
    return mean, float(np.sqrt(squares / size))


def _pixels(images: np.ndarray | StreamedImages) -> Iterator[np.ndarray]:
    if isinstance(images, StreamedImages):
        each = max(1, _CHUNK // max(1, math.prod(images.shape[1:])))
        return (chunk.reshape(-1) for chunk in images.chunks(each))
    flat = images.reshape(-1)
    return (flat[start : start + _CHUNK] for start in range(0, flat.size, _CHUNK))
