"""Labelled rows, and which of them an epoch draws."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int, Int32, Real


class Part(NamedTuple):
    """Standardised rows `images` `[n, height, width, channels]` and class numbers `labels` `[n]`."""

    images: Float32[np.ndarray, "n height width channels"]
    labels: Int32[np.ndarray, " n"]


class Parts(NamedTuple):
    """The splits, as [`noprop_ode.fit`][] takes them."""

    train: Part
    validation: Part | None


def canonical_order(rows: Real[np.ndarray, "n *shape"], labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """An order that depends only on the contents of the rows, not on the order they come in: first by label, then by
    bytes.

    **Arguments:** rows and class numbers. **Returns:** positions.
    """
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
    bytes_of_row = flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize))).ravel()
    by_bytes = np.argsort(bytes_of_row, kind="stable")
    return by_bytes[np.argsort(labels[by_bytes], kind="stable")]


class Draws(NamedTuple):
    """Rows drawn again for each epoch, in proportion to their weights.

    Sampling is systematic: at equal distances along the cumulative weights, from one uniform start. So the number of
    draws of a row differs from its share by less than one; a row of weight 2 is drawn like two rows of weight 1; and
    with equal weights, an epoch of n draws is all n rows once. An epoch has as many draws as there are rows, but at
    least enough to fill a batch, so that few rows need no other program than many.
    """

    part: Part
    weights: Float64[np.ndarray, " n"]
    batch_size: int
    seed: int

    def epoch(self, number: int) -> Part:
        """The rows of an epoch.

        **Arguments:** its `number`, from 0. **Returns:** the same number of rows in every epoch.
        """
        return self._drawn(number, max(len(self.weights), self.batch_size))

    def whole_batches(self, number: int) -> Part:
        """The rows of an epoch that, with equal weights, leaves none out: some come again to fill the last batch.

        **Arguments:** its `number`, from 0. **Returns:** a multiple of the batch size.
        """
        return self._drawn(number, -(-len(self.weights) // self.batch_size) * self.batch_size)

    def _drawn(self, number: int, size: int) -> Part:
        n = len(self.weights)
        if size == n and np.all(self.weights == self.weights[0]):
            return self.part
        ends = np.cumsum(self.weights)
        start = np.random.default_rng((self.seed, number)).uniform()
        drawn = np.searchsorted(ends, (np.arange(size) + start) * (ends[-1] / size), side="right")
        drawn = np.minimum(drawn, n - 1)  # rounding may reach the very end
        return Part(self.part.images[drawn], self.part.labels[drawn])
