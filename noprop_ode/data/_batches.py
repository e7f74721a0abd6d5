"""Mini-batches of one epoch."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from ._errors import DatasetError
from ._read_ahead import ReadAhead, Shuffled
from ._streamed import StreamedImages


@runtime_checkable
class Labelled(Protocol):
    """Anything with images and labels, in arrays that can be indexed by arrays."""

    @property
    def images(self) -> Any:
        """One image per row, `[n, ...]`."""
        ...

    @property
    def labels(self) -> Any:
        """The class of each image, `[n]`."""
        ...


def batches(
    dataset: Labelled, batch_size: int, *, seed: int, epoch: int, share: slice = slice(None), first: int = 0
) -> Iterator[tuple[Any, Any]]:
    """Shuffle a data set and split it into batches for one epoch.

    The order depends only on `seed`, `epoch` and the number of images, so a run that is resumed at an epoch sees the
    same batches as one that was never stopped. The last `n % batch_size` images of the order are dropped, so that all
    batches have the same shape; different ones are dropped in each epoch.

    **Arguments:**

    - `dataset`: anything with arrays `images` `[n, ...]` and `labels` `[n]`, such as a [`noprop_ode.data.Dataset`][].
    - `batch_size`: images per batch, b.
    - `seed`: seed of the run, at least 0.
    - `epoch`: number of the epoch, at least 0.
    - `share`: the part of every batch to return, for one of several processes.
    - `first`: number of the batch to start with; earlier ones are not read.

    **Returns:**

    An iterator over the batches from `first` to `n // batch_size`: images `[b, ...]`, labels `[b]`.

    **Raises:**

    `DatasetError`, on the call itself, if there is no full batch or a number is negative.
    """
    if min(seed, epoch, first) < 0:
        raise DatasetError(f"expected seed, epoch and first of at least 0, got {seed}, {epoch} and {first}")
    return _one_epoch(Batches(dataset, batch_size, seed=seed, share=share), epoch, first)


def fit_on_device(images: Any) -> bool:
    """Whether images can stay on the accelerator while a model trains there: bytes in memory, no file that is mapped to
    it, that take up to an eighth of what JAX may allocate. On a CPU there is nothing to gain."""
    in_memory = isinstance(images, np.ndarray) and not isinstance(images, np.memmap)
    if not in_memory or images.dtype != np.uint8 or jax.default_backend() == "cpu":
        return False
    (device,) = jnp.zeros(()).devices()  # the one where arrays are put
    found = device.memory_stats() or {}
    return images.nbytes <= found.get("bytes_limit", 0) / 8


@jax.jit
def _taken(images: jax.Array, chosen: jax.Array) -> jax.Array:
    return images[chosen]


def _one_epoch(reader: "Batches", epoch: int, first: int) -> Iterator[tuple[Any, Any]]:
    try:
        yield from reader.epoch(epoch, first)
    finally:
        reader.close()


class Batches:
    """The batches of any epoch. Streamed images of the next batch are read while the current one is in use, also beyond
    the end of an epoch, as long as epochs are requested in order."""

    def __init__(
        self, dataset: Labelled, batch_size: int, *, seed: int, share: slice = slice(None), resident: bool = False
    ):
        """**Arguments:** as for [`noprop_ode.data.batches`][]; if `resident`, images that `fit_on_device` stay there,
        and no image travels for a batch. **Raises:** `DatasetError`, likewise."""
        n = len(dataset.labels)
        if len(dataset.images) != n:
            raise DatasetError(f"expected one label an image, got {len(dataset.images)} images and {n} labels")
        if not 1 <= batch_size <= n:
            raise DatasetError(
                f"expected a batch_size in [1, {n}], the number of images, got {batch_size}; "
                "an incomplete batch is dropped, so choose a smaller batch_size"
            )
        self._dataset = dataset
        self._images = jax.device_put(dataset.images) if resident and fit_on_device(dataset.images) else dataset.images
        self._plan = Shuffled(n, batch_size, seed, share)
        self._ahead: ReadAhead | None = None
        self._next = 0  # number of the batch that is read ahead next

    def epoch(self, epoch: int, first: int = 0) -> Iterator[tuple[Any, Any]]:
        """The batches of an epoch, starting with number `first`."""
        images, labels = self._images, self._dataset.labels
        for number in range(epoch * self._plan.steps + first, (epoch + 1) * self._plan.steps):
            chosen = self._plan[number]
            if isinstance(images, StreamedImages):
                yield self._read(images, number), labels[chosen]
            elif isinstance(images, jax.Array):
                yield _taken(images, chosen), labels[chosen]
            else:
                yield images[chosen], labels[chosen]

    def _read(self, images: StreamedImages, number: int) -> Any:
        if self._ahead is None or self._next != number:
            self.close()
            self._ahead = ReadAhead(images, self._plan, first=number, workers=images.workers)
        self._next = number + 1
        return next(self._ahead)

    def close(self) -> None:
        """Stop reading ahead, and free the device."""
        self._images = self._dataset.images
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None
