"""Weights of an ensemble from held-out images."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special

import noprop_ode as no


TIMES = (0.0, 0.25, 0.5, 0.75)


class Rows(no.AbstractVectorField):
    """A network to which an image says what to answer: its row k, in the kth quarter of time."""

    def encode(self, x, *, key=None):
        return jnp.asarray(x, jnp.float32)[..., 0]

    def __call__(self, t, z, features):
        return features[jnp.clip(4 * t, 0, 3).astype(int)]


class Overflowing(Rows):
    def __call__(self, t, z, features):
        return jnp.where(features[0] > 1e20, jnp.nan, features[0])


def held_out(n=400):
    """Labels, and four estimates of them: two good, one that is noise, and one that is worse than noise."""
    rng = np.random.default_rng(0)
    ys = rng.integers(0, 3, n)
    truth = 2.0 * np.eye(3)[ys]
    noise = [rng.normal(size=(n, 3)) for _ in range(4)]
    rows = [truth + noise[0], truth + 2 * noise[1], 2 * noise[2], -truth + noise[3]]
    return np.stack(rows, axis=1)[..., None].astype(np.float32), ys


def nll(weights, xs, ys):
    estimates = scipy.special.log_softmax(xs[..., 0].astype(np.float64), axis=-1)
    log_ps = scipy.special.log_softmax(np.einsum("t,ntc->nc", weights, estimates), axis=-1)
    return -log_ps[np.arange(len(ys)), ys].mean()


@pytest.fixture
def model():
    return no.NoPropCT(Rows(), embedding=no.OneHot(3), objective=no.CrossEntropy())


def test_the_weights_are_the_best_of_the_simplex(model):
    xs, ys = held_out()
    found = no.fit_ensemble(model, xs, ys, TIMES, batch_size=150)
    best = scipy.optimize.minimize(lambda a: nll(scipy.special.softmax(a), xs, ys), np.zeros(4)).fun
    assert nll(found.weights, xs, ys) < best + 1e-4
    assert found.times == TIMES
    assert sum(found.weights) == pytest.approx(1)
    assert found.weights[0] > found.weights[1] > 0.05
    assert max(found.weights[2:]) < 0.05


def test_one_time_takes_all(model):
    xs, ys = held_out(20)
    assert no.fit_ensemble(model, xs, ys, [0.25]).weights == (1.0,)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"times": []}, "one or more times"),
        ({"ys": np.zeros(3, int)}, "one label an image"),
        ({"xs": np.full((20, 4, 3, 1), np.nan, np.float32)}, "finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(model, change, message):
    xs, ys = held_out(20)
    with pytest.raises(ValueError, match=message):
        no.fit_ensemble(model, **{"xs": xs, "ys": ys, "times": TIMES} | change)


def test_it_needs_a_gaussian_path():
    flow = no.NoPropFM(Rows(), embedding=no.OneHot(3))
    with pytest.raises(TypeError, match="NoPropFM has none"):
        no.fit_ensemble(flow, *held_out(20), TIMES)


def test_a_network_whose_answers_are_not_numbers_is_refused(model):
    xs, ys = held_out(20)
    xs[3] = 1e30
    with pytest.raises(FloatingPointError, match="1 of 20 images, the first at index 3"):
        no.fit_ensemble(eqx.tree_at(lambda m: m.field, model, Overflowing()), xs, ys, TIMES)
