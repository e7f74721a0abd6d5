"""Mean and variance of features, to standardise them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Real


_CHUNK = 2**22  # numbers that are converted to float64 at a time


class Moments(NamedTuple):
    """Weighted moments of each feature: of each column of a table, or each channel of images.

    - `weight`: total weight of all rows seen.
    - `mean`, `variance`: per feature.
    """

    weight: float
    mean: Float64[np.ndarray, " features"]
    variance: Float64[np.ndarray, " features"]

    def updated(self, rows: Real[np.ndarray, "n *shape"], weights: Float64[np.ndarray, " n"]) -> "Moments":
        """The moments of the rows seen before and these together.

        **Arguments:**

        - `rows`: with the features on the last axis.
        - `weights`: positive weights of the rows.

        **Returns:** the moments.

        **Raises:** `ValueError` for numbers so large that their variance is not finite, or weights whose sum is not.
        """
        with np.errstate(over="ignore"):
            if not np.isfinite(weights.sum() + self.weight):
                raise ValueError(
                    "sample_weight is so large that its sum is not finite; only ratios matter, scale it down."
                )
        with np.errstate(over="ignore", invalid="ignore"):
            new = _moments(rows, weights)
            share = new.weight / (self.weight + new.weight)
            step = new.mean - self.mean
            mean = self.mean + share * step
            variance = (1 - share) * self.variance + share * new.variance + share * (1 - share) * step**2
        if not np.isfinite(variance).all():
            raise ValueError("X holds numbers so large that their variance is not finite; scale them down.")
        return Moments(self.weight + new.weight, mean, variance)

    def standardised(self, rows: Real[np.ndarray, "n *shape"]) -> Float32[np.ndarray, "n *shape"]:
        """Rows whose features have mean 0 and variance 1 over the rows seen; constant features become 0. Outliers are
        clipped: pixels at 16 standard deviations, columns of a table at a million.

        **Arguments:** `rows`, with the features on the last axis. **Returns:** the same shape.
        """
        deviation = np.sqrt(self.variance)
        # The variance of a constant is what rounding leaves, not always zero.
        constant = deviation <= 10 * np.finfo(np.float64).eps * np.abs(self.mean)
        scale = np.where(constant, 1.0, deviation)
        # Models take larger pixels for bytes that were not divided by 255.
        greatest = 16.0 if rows.ndim > 2 else _GREATEST
        found = np.empty(rows.shape, np.float32)
        for part in _parts(rows):
            found[part] = np.clip((rows[part] - self.mean) / scale, -greatest, greatest)
        return found


_GREATEST = 1e6  # standard deviations: far outside any data, and far from overflow inside a network


def no_moments(features: int) -> Moments:
    """The moments of no rows.

    **Arguments:** the number of features.
    """
    return Moments(0.0, np.zeros(features), np.zeros(features))


def _moments(rows: Real[np.ndarray, "n *shape"], weights: Float64[np.ndarray, " n"]) -> Moments:
    mean = _weighted_mean(rows, weights, np.zeros(rows.shape[-1]), 1)
    return Moments(float(weights.sum()), mean, _weighted_mean(rows, weights, mean, 2))


def _weighted_mean(
    rows: Real[np.ndarray, "n *shape"],
    weights: Float64[np.ndarray, " n"],
    centre: Float64[np.ndarray, " features"],
    power: int,
) -> Float[np.ndarray, " features"]:
    """The weighted mean of `(row - centre) ** power`, over the rows and all axes but the last."""
    total = np.zeros(rows.shape[-1])
    for part in _parts(rows):
        values = (rows[part].astype(np.float64) - centre) ** power
        total += weights[part] @ values.reshape(len(values), -1, rows.shape[-1]).mean(axis=1)
    return total / weights.sum()


def _parts(rows: Real[np.ndarray, "n *shape"]):
    size = max(1, _CHUNK // max(1, rows[:1].size))
    return (slice(start, start + size) for start in range(0, len(rows), size))
