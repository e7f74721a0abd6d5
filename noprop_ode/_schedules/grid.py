"""Schedules given by their values at the ends of blocks."""

import itertools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._numbers import number
from .._types import Scalar
from .base import AbstractNoiseSchedule, check_ends


_MOST = 100_000  # finer than any sampler needs, and still a list of numbers


def _numbers(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(number, values))


class GridSchedule(AbstractNoiseSchedule):
    r"""A schedule given by its values at the ends of T blocks, $\lambda(k / T)$ for $k = 0, \dots, T$, and linear in
    time between them: the fixed noise levels with which discrete-time models are usually defined.

    A model with T blocks sees only the given values. In continuous time, the rate $\lambda'$ is piecewise constant.

    **Arguments:**

    - `log_snrs`: the log-SNR at the T + 1 points of the grid, increasing, in nats.

    **Raises:** `ValueError` unless there are at least two values, increasing and within [-80, 40].
    """

    log_snrs: tuple[float, ...] = eqx.field(converter=_numbers)

    def __check_init__(self):
        values = self.log_snrs
        if len(values) < 2 or any(not a < b for a, b in itertools.pairwise(values)):
            raise ValueError(f"Expected at least two log-SNRs, each above the one before; got {values}.")
        check_ends(values[0], values[-1])

    def log_snr(self, t: Scalar) -> Scalar:
        values = jnp.asarray(self.log_snrs, jnp.float32)
        intervals = len(self.log_snrs) - 1
        # As in `Blocks`, so that rounding does not decide between the end of one interval and the start of the next.
        k = jnp.clip(jnp.floor(t * intervals + 1e-3).astype(jnp.int32), 0, intervals - 1)
        share = t * intervals - k.astype(jnp.float32)
        # A time that lies before the interval by more than rounding is on the line of the previous one.
        rise = jnp.where(share < -1e-6 * intervals, values[k] - values[k - 1], values[k + 1] - values[k])
        return values[k] + rise * share

    def interval(self, k: Int[Array, ""]) -> AbstractNoiseSchedule:
        """Interval `k` alone, whose line goes on beyond its ends: at its end the rate is still its own."""
        values = jnp.asarray(self.log_snrs, jnp.float32)
        return _Line(values[k], (values[k + 1] - values[k]), k.astype(jnp.float32), len(self.log_snrs) - 1)


class _Line(AbstractNoiseSchedule):
    """The line through one interval of a grid: its first value, its rise, its number, and how many there are."""

    first: Float[Array, ""]
    rise: Float[Array, ""]
    number: Float[Array, ""]
    intervals: int = eqx.field(static=True)

    def log_snr(self, t: Scalar) -> Scalar:
        return self.first + self.rise * (t * self.intervals - self.number)


def cosine_grid(num_blocks: int, *, offset: float = 0.008, max_beta: float = 0.999) -> GridSchedule:
    r"""The cosine cumulative product, $\bar\alpha_j = \prod_{i \le j} (1 - \beta_i)$ with
    $1 - \beta_i = f(i) / f(i - 1)$, $f(i) = \cos^2\big(\tfrac{i / N + s}{1 + s} \tfrac{\pi}{2}\big)$ and
    N = T + 1 noising steps.

    Time runs in the opposite direction here: the grid begins with all N steps of noise and ends with one.

    ??? cite "Reference"

        Nichol and Dhariwal, *Improved Denoising Diffusion Probabilistic Models*, 2021 (arXiv 2102.09672), eq. 17.

    **Arguments:**

    - `num_blocks`: the number T of blocks.
    - `offset`: s, which keeps the first noising step from being too small.
    - `max_beta`: the largest share of noise in one step.

    **Returns:** the schedule.

    **Raises:** `ValueError` for fewer than one block or more than 100,000, a negative `offset`, or a `max_beta` out of
    (0, 1).
    """
    _check_blocks(num_blocks)
    if not (0 <= offset < math.inf and 0 < max_beta < 1):
        raise ValueError(f"Expected offset >= 0 and max_beta in (0, 1); got {offset=}, {max_beta=}.")
    steps = np.arange(num_blocks + 2) / (num_blocks + 1)
    f = np.cos((steps + offset) / (1 + offset) * math.pi / 2) ** 2
    return _from_betas(np.minimum(1 - f[1:] / f[:-1], max_beta))


def linear_grid(
    num_blocks: int, *, beta_first: float = 1e-4, beta_last: float = 0.02, max_beta: float = 0.5
) -> GridSchedule:
    r"""The cumulative product of noise shares $\beta$ that grow linearly over N = T + 1 noising steps.

    The first and last share are those of a chain of 1000 steps, multiplied by 1000 / N; with few steps this would give
    shares above one, so they are capped.

    ??? cite "Reference"

        Ho, Jain and Abbeel, *Denoising Diffusion Probabilistic Models*, 2020 (arXiv 2006.11239), section 4.

    **Arguments:**

    - `num_blocks`: the number T of blocks.
    - `beta_first`, `beta_last`: shares of noise of the first and the last of 1000 noising steps.
    - `max_beta`: the largest share of noise in one step.

    **Returns:** the schedule.

    **Raises:** `ValueError` for fewer than one block or more than 100,000, or unless 0 < beta_first <= beta_last < 1
    and 0 < max_beta < 1.
    """
    _check_blocks(num_blocks)
    if not (0 < beta_first <= beta_last < 1 and 0 < max_beta < 1):
        raise ValueError(
            "Expected 0 < beta_first <= beta_last < 1 and max_beta in (0, 1); got "
            f"{beta_first=}, {beta_last=}, {max_beta=}."
        )
    scale = 1000 / (num_blocks + 1)
    return _from_betas(np.minimum(scale * np.linspace(beta_first, beta_last, num_blocks + 1), max_beta))


def noise_grid(num_blocks: int, *, first: float = 0.9, last: float = 0.01) -> GridSchedule:
    r"""Noise variances $\sigma^2$ that fall linearly across the blocks, by default from 0.9 to 0.01.

    **Arguments:**

    - `num_blocks`: the number T of blocks.
    - `first`: variance at t = 0, the input of the first block.
    - `last`: variance at t = 1, the output of the last block.

    **Returns:** the schedule.

    **Raises:** `ValueError` for fewer than one block or more than 100,000, or unless 0 < last < first < 1.
    """
    _check_blocks(num_blocks)
    if not 0 < last < first < 1:
        raise ValueError(f"Noise variances fall within (0, 1): expected 0 < last < first < 1; got {first=}, {last=}.")
    variances = np.linspace(first, last, num_blocks + 1)
    return GridSchedule(tuple(float(v) for v in np.log1p(-variances) - np.log(variances)))


def _from_betas(betas: Float[np.ndarray, " steps"]) -> GridSchedule:
    log_power = np.cumsum(np.log1p(-betas))  # log of the cumulative product
    log_snr = log_power - np.log(-np.expm1(log_power))
    return GridSchedule(tuple(float(v) for v in log_snr[::-1]))


def _check_blocks(num_blocks: int) -> None:
    if not 1 <= num_blocks <= _MOST:
        raise ValueError(f"Expected at least one block and at most {_MOST}; got num_blocks={num_blocks}.")
