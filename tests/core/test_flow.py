"""Flow matching: straight lines, its loss, and what it refuses."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import carry, mlp_model, scalar
from scipy.stats import chi2

import noprop_ode as no


class Line(no.AbstractVectorField):
    """The velocity towards a known class: (u - z) / (1 - t)."""

    def encode(self, x, *, key=None):
        return jnp.asarray(x).reshape(-1)

    def __call__(self, t, z, features):
        return (features - z) / (1 - t)


class Exact(no.AbstractVectorField):
    """The optimal velocity for known p(y | x): (E[u | z, x] - z) / (1 - t), with z | y of mean t u, deviation 1 - t."""

    def encode(self, x, *, key=None):
        return jnp.asarray(x).reshape(-1)

    def __call__(self, t, z, features):
        posterior = jax.nn.softmax(features + t * z / (1 - t) ** 2)
        return (posterior - z) / (1 - t)


X = jnp.array([0.0, 1.0, 0.0], jnp.float32).reshape(1, 1, 3)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_straight_line_is_exact_in_any_number_of_euler_steps(key, steps):
    model = no.NoPropFM(Line(), embedding=no.OneHot(3))
    z1s = carry(model, no.ODE(diffrax.Euler(), steps=steps), X, jr.normal(key, (10, 3), jnp.float32), key=key)
    np.testing.assert_allclose(z1s, np.tile(X.reshape(1, 3), (10, 1)), atol=1e-5)


def test_the_loss_of_the_straight_line_is_zero(key):
    model = no.NoPropFM(Line(), embedding=no.OneHot(3))
    for k in jr.split(key, 10):
        terms = model.loss(X, 1, key=k, t=scalar(0.6))
        assert float(terms.denoising) < 1e-9
        assert float(terms.readout) == float(terms.prior) == 0


def test_trajectories_are_samples_of_the_class(key):
    p = np.array([0.6, 0.3, 0.1])
    x = jnp.asarray(np.log(p), jnp.float32).reshape(1, 1, 3)
    model = no.NoPropFM(Exact(), embedding=no.OneHot(3))
    noise_key, path_key = jr.split(key)
    starts = jr.normal(noise_key, (4000, 3), jnp.float32)
    # Stopped one step short of t = 1, where the evidence of the exact field overflows.
    ends = carry(model, no.ODE(diffrax.Heun(), steps=50), x, starts, key=path_key, t1=0.98)
    counts = np.bincount(np.asarray(jnp.argmax(ends, axis=1)), minlength=3)
    assert np.sum((counts - 4000 * p) ** 2 / (4000 * p)) < chi2.isf(1e-4, df=2)


def test_sigma_spreads_the_state(key):
    class Nothing(no.AbstractVectorField):
        def encode(self, x, *, key=None):
            return jnp.zeros((), jnp.float32)

        def __call__(self, t, z, features):
            return z * 0

    plain, spread = (no.NoPropFM(Nothing(), embedding=no.OneHot(3), sigma=s) for s in (0.0, 0.5))
    # With a velocity of zero the loss is |u - z0|^2 for both: sigma moves the input, not the target.
    assert float(plain.loss(X, 1, key=key).denoising) == float(spread.loss(X, 1, key=key).denoising)
    with pytest.raises(ValueError, match="negative"):
        no.NoPropFM(Nothing(), embedding=no.OneHot(3), sigma=-1.0)


def field(dim):
    return no.nn.MLPField((2, 2, 1), 3, dim, width=8, time_size=4, key=jr.key(0))


def test_the_anchor_is_there_exactly_when_the_embedding_or_the_readout_learns(key):
    fixed = no.NoPropFM(field(3), embedding=no.OneHot(3))
    frozen = no.NoPropFM(field(4), embedding=no.LearnedEmbedding(3, 4, trainable=False, key=key))
    learned = no.NoPropFM(field(4), embedding=no.LearnedEmbedding(3, 4, key=key), readout=no.NearestEmbedding(1.0))
    readout = no.NoPropFM(field(3), embedding=no.OneHot(3), readout=no.LinearReadout(3, 3, key=key))
    assert (fixed.anchor, frozen.anchor, learned.anchor, readout.anchor) == (False, False, True, True)
    x = jnp.ones((2, 2, 1), jnp.float32)
    assert float(frozen.loss(x, 1, key=key).readout) == 0
    assert float(learned.loss(x, 1, key=key).readout) > 0
    grads = eqx.filter_jit(eqx.filter_grad(lambda m: m.loss(x, 1, key=key).readout))(learned)
    assert bool(jnp.any(grads.embedding.matrix != 0))


@pytest.mark.parametrize(
    "sampler", [no.Ancestral(4), no.Ancestral(1, churn=0.0), no.SDE(4)], ids=["ancestral", "ddim", "sde"]
)
def test_gaussian_samplers_are_refused(key, sampler):
    model = no.NoPropFM(field(3), embedding=no.OneHot(3))
    with pytest.raises(TypeError, match="Gaussian path"):
        no.predict_log_proba(model, np.ones((2, 2, 2, 1), np.float32), key=key, sampler=sampler)


def test_a_point_has_no_posterior(key):
    xs = np.ones((2, 2, 2, 1), np.float32)
    how = {"key": key, "sampler": no.ODE(diffrax.Euler(), steps=2), "decoder": no.PosteriorDecoder()}
    with pytest.raises(ValueError, match="sigma"):
        no.predict_log_proba(no.NoPropFM(field(3), embedding=no.OneHot(3)), xs, **how)
    log_p = no.predict_log_proba(no.NoPropFM(field(3), embedding=no.OneHot(3), sigma=0.3), xs, **how)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=1e-5)


def test_the_default_prediction_is_a_few_evaluations(key):
    xs = np.ones((2, 2, 2, 1), np.float32)
    for model, evaluations in ((mlp_model(), 1), (no.NoPropFM(field(3), embedding=no.OneHot(3)), 4)):
        assert no.evaluate(model, xs, np.array([0, 1]), key=key).num_evaluations == evaluations
