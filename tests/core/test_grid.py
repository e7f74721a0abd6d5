"""Schedules given on a grid."""

import jax
import numpy as np
import pytest
from helpers import scalar

import noprop_ode as no


GRIDS = {"cosine": no.cosine_grid, "linear": no.linear_grid, "noise": no.noise_grid}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("num_blocks", [1, 2, 7, 10, 100, 1000])
def test_the_grid_is_met_exactly_and_increases(name, num_blocks):
    schedule = GRIDS[name](num_blocks)
    assert len(schedule.log_snrs) == num_blocks + 1
    ts = np.arange(num_blocks + 1, dtype=np.float32) / np.float32(num_blocks)
    values = jax.vmap(schedule.log_snr)(ts)
    np.testing.assert_allclose(values, schedule.log_snrs, rtol=1e-5, atol=1e-4)
    assert (np.diff(np.asarray(values)) > 0).all()
    assert all(float(schedule.log_snr_rate(scalar(t))) > 0 for t in (0.0, 0.31, 0.5, 1.0))


def test_the_noise_falls_linearly():
    schedule = no.noise_grid(10)
    for k in range(11):
        _, sigma = schedule.alpha_sigma(scalar(k / 10))
        assert float(sigma) ** 2 == pytest.approx(0.9 + (0.01 - 0.9) * k / 10, rel=1e-4)


def test_the_cosine_product_is_that_of_its_definition():
    """Away from the limit on a single share of noise the product telescopes to the cosine itself."""
    schedule, n = no.cosine_grid(99), 100

    def f(j):
        return np.cos((j / n + 0.008) / 1.008 * np.pi / 2) ** 2

    for k in range(2, 100):
        alpha, _ = schedule.alpha_sigma(scalar(k / 99))
        assert float(alpha) ** 2 == pytest.approx(f(n - k) / f(0), rel=1e-4)


def test_the_linear_product_is_that_of_its_definition():
    schedule = no.linear_grid(999)
    powers = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[::-1]
    for k in (0, 1, 500, 998, 999):
        alpha, _ = schedule.alpha_sigma(scalar(k / 999))
        assert float(alpha) ** 2 == pytest.approx(powers[k], rel=2e-4)


def test_blocks_see_the_levels_of_the_grid():
    schedule = no.GridSchedule((-3.0, -1.0, 0.5, 4.0))
    snr = np.exp(schedule.log_snrs)
    for k in range(3):
        weight = no.ELBOWeighting().over(schedule, scalar(k / 3), scalar((k + 1) / 3))
        assert float(weight) == pytest.approx(3 * (snr[k + 1] - snr[k]), rel=1e-4)


@pytest.mark.parametrize("values", [(1.0,), (0.0, 0.0), (1.0, 0.0), (0.0, float("nan")), (-100.0, 0.0)])
def test_values_that_are_no_schedule(values):
    with pytest.raises(ValueError, match="log"):
        no.GridSchedule(values)


@pytest.mark.parametrize("count", [0, 2 * 10**9])
@pytest.mark.parametrize("make", GRIDS.values(), ids=GRIDS)
def test_no_blocks_or_more_than_fit_into_memory(make, count):
    with pytest.raises(ValueError, match=f"num_blocks={count}"):
        make(count)


@pytest.mark.parametrize("ends", [(0.1, 0.5), (1.0, 0.1), (0.5, 0.0)])
def test_noise_that_does_not_fall(ends):
    with pytest.raises(ValueError, match="0 < last < first < 1"):
        no.noise_grid(4, first=ends[0], last=ends[1])
