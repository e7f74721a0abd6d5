"""Moments of rows, and which rows an epoch draws."""

import numpy as np
import pytest
from helpers import modest
from hypothesis import given, strategies as st


pytest.importorskip("sklearn")

from noprop_ode.sklearn._moments import no_moments
from noprop_ode.sklearn._rows import Draws, Part, canonical_order


def moments_of(*parts):
    found = no_moments(parts[0][0].shape[-1])
    for rows, weights in parts:
        found = found.updated(rows, np.asarray(weights, np.float64))
    return found


def test_moments_are_those_of_all_rows_together():
    rng = np.random.default_rng(0)
    X = rng.normal(1e8, 1.0, (50, 3))  # where a sum of squares would lose the variance
    w = rng.uniform(0.1, 2, 50)
    together, apart = moments_of((X, w)), moments_of((X[:7], w[:7]), (X[7:], w[7:]))
    mean = np.average(X, axis=0, weights=w)
    for found in (together, apart):
        np.testing.assert_allclose(found.mean, mean)
        np.testing.assert_allclose(found.variance, np.average((X - mean) ** 2, axis=0, weights=w), rtol=1e-6)


def test_a_weight_is_a_number_of_rows():
    X, w = np.random.default_rng(0).normal(size=(9, 2)), np.arange(1.0, 10.0)
    repeated = np.repeat(X, np.arange(1, 10), axis=0)
    for a, b in zip(moments_of((X, w)), moments_of((repeated, np.ones(45)))):
        np.testing.assert_allclose(a, b)


def test_standardised_rows_have_mean_zero_and_variance_one():
    X = np.random.default_rng(0).normal(3, 7, (200, 4, 4, 2)).astype(np.float32)
    X[..., 1] = 0.1  # not a number of binary floating point: its variance is rounding
    found = moments_of((X, np.ones(200))).standardised(X)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., 0].mean(dtype=np.float64), 0, atol=1e-5)
    np.testing.assert_allclose(found[..., 0].std(dtype=np.float64), 1, atol=1e-5)
    np.testing.assert_allclose(found[..., 1], 0, atol=1e-6)


def draws(weights, batch_size=1, seed=0):
    n = len(weights)
    part = Part(np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1), np.zeros(n, np.int32))
    return Draws(part, np.asarray(weights, np.float64), batch_size, seed)


def counts(found):
    n = len(found.weights)
    return np.bincount(found.epoch(0).images.ravel().astype(int), minlength=n)


@modest
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=30), st.integers(1, 100), st.integers(0, 9))
def test_every_row_is_drawn_as_often_as_its_share_says(weights, batch_size, seed):
    found = counts(draws(weights, batch_size, seed))
    size = max(len(weights), batch_size)
    share = np.array(weights) / np.sum(weights) * size
    assert found.sum() == size
    assert np.abs(found - share).max() < 1 + 1e-9


def test_equal_weights_are_every_row_once():
    assert counts(draws(np.full(7, 0.3))).tolist() == [1] * 7
    assert counts(draws(np.full(7, 0.3), batch_size=21)).tolist() == [3] * 7


def test_epochs_draw_differently():
    found = draws([1, 2, 3], batch_size=4)
    epochs = [found.epoch(i).images.ravel().tolist() for i in range(20)]
    assert len(set(map(tuple, epochs))) > 1
    assert found.epoch(3).images.ravel().tolist() == epochs[3]


def test_the_canonical_order_is_of_what_rows_hold():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 3, (40, 2)).astype(np.float64), rng.integers(0, 2, 40)
    shuffled = rng.permutation(40)
    a, b = canonical_order(X, y), canonical_order(X[shuffled], y[shuffled])
    np.testing.assert_array_equal(X[a], X[shuffled][b])
    np.testing.assert_array_equal(y[a], y[shuffled][b])
    assert (np.diff(y[a]) >= 0).all()


@pytest.mark.parametrize("n", [5, 8, 11])
def test_whole_batches_have_every_row(n):
    found = draws(np.ones(n), batch_size=4).whole_batches(3).images.ravel()
    assert len(found) % 4 == 0
    assert set(found) == set(range(n))
    assert np.bincount(found.astype(int)).max() <= 2
