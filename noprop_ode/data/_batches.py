"""Mini-batches of one epoch."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from ._errors import DatasetError
from ._random import permutation


# Keeps the stream of a shuffle apart from that of a split with the same seed.
_EPOCH_STREAM = 1


@runtime_checkable
class Labelled(Protocol):
    """Anything with images and labels, in arrays that can be indexed by arrays."""

    @property
    def images(self) -> Any:
        """One image a row, `[n, ...]`."""
        ...

    @property
    def labels(self) -> Any:
        """The class of each image, `[n]`."""
        ...


def batches(
    dataset: Labelled, batch_size: int, *, seed: int, epoch: int, share: slice = slice(None)
) -> Iterator[tuple[Any, Any]]:
    """Shuffle a data set and deal it out for one epoch.

    The order depends on `seed`, `epoch` and the number of images alone, so a run that is resumed at
    an epoch sees the batches that it would have seen. The last `n % batch_size` images of
    the order are dropped, so that every batch has one shape; which ones changes from epoch to epoch.

    **Arguments:**

    - `dataset`: anything with arrays `images` `[n, ...]` and `labels` `[n]`, such as a [`noprop_ode.data.Dataset`][].
    - `batch_size`: images in a batch, b.
    - `seed`: seed of the run, at least 0.
    - `epoch`: number of the epoch, at least 0.
    - `share`: the part of every batch to give, for one of several processes.

    **Returns:**

    An iterator over `n // batch_size` pairs: images `[b, ...]`, labels `[b]`.

    **Raises:**

    `DatasetError` on the call itself where no full batch exists or a number is negative.
    """
    n = len(dataset.labels)
    if len(dataset.images) != n:
        raise DatasetError(f"expected one label an image, got {len(dataset.images)} images and {n} labels")
    if not 1 <= batch_size <= n:
        raise DatasetError(
            f"expected a batch_size in [1, {n}], the number of images, got {batch_size}; "
            "an incomplete batch is dropped, so choose a smaller batch_size"
        )
    if seed < 0 or epoch < 0:
        raise DatasetError(f"expected seed and epoch of at least 0, got {seed} and {epoch}")
    order = permutation(n, (_EPOCH_STREAM, seed, epoch))
    return _deal(dataset, batch_size, order, share)


def _deal(dataset: Labelled, batch_size: int, order: Int[np.ndarray, " n"], share: slice):
    for stop in range(batch_size, len(order) + 1, batch_size):
        chosen = order[stop - batch_size : stop][share]
        yield dataset.images[chosen], dataset.labels[chosen]
