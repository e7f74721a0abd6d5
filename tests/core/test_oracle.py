"""The exact field, log p(y | x) plus the evidence of the state, from which every sampler must draw y ~ p(y | x)."""

import diffrax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import carry, oracle_model
from scipy.stats import chi2

import noprop_ode as no


P = np.array([0.6, 0.3, 0.1])
X = jnp.asarray(np.log(P), jnp.float32).reshape(1, 1, 3)
SCHEDULE = no.CosineSchedule(-12.0, 7.0)  # pure noise at the start, as the samplers assume; told apart at the end
DRAWS = 4000


def classes(sampler, key, n=DRAWS):
    model = oracle_model(no.OneHot(3), SCHEDULE)
    noise_key, path_key = jr.split(key)
    z1s = carry(model, sampler, X, jr.normal(noise_key, (n, 3), jnp.float32), key=path_key)
    return np.asarray(jnp.argmax(z1s, axis=1))


def chi_square(ys):
    expected = P * len(ys)
    return np.sum((np.bincount(ys, minlength=3) - expected) ** 2 / expected)


@pytest.mark.parametrize(
    "sampler",
    [
        no.Ancestral(100),
        no.Ancestral(100, churn=0.5),
        no.Ancestral(100, churn=0.0),
        no.ODE(diffrax.Heun(), steps=100),
    ],
    ids=["ancestral", "churn", "ddim", "heun"],
)
def test_trajectories_are_samples_of_the_class(key, sampler):
    assert chi_square(classes(sampler, key)) < chi2.isf(1e-4, df=2)


def test_a_single_step_is_no_sample(key):
    """One step goes to the mean of the embeddings, whatever the noise: the test above can fail."""
    assert chi_square(classes(no.Ancestral(1), key)) > 10 * chi2.isf(1e-4, df=2)


def test_one_step_from_the_mean_is_the_class_posterior_itself(key):
    log_p = no.predict_log_proba(oracle_model(no.OneHot(3), SCHEDULE), X[None], key=key)
    np.testing.assert_allclose(np.exp(log_p[0]), P, rtol=1e-6)


def test_the_average_over_starts_of_the_denoiser_is_the_class_posterior(key):
    """The denoiser's softmax is a martingale along the path: its average over draws stays p(y | x)."""
    how = {"start": "noise", "draws": 4000, "decoder": no.DenoiserDecoder(), "sampler": no.Ancestral(60)}
    log_p = no.predict_log_proba(oracle_model(no.OneHot(3), SCHEDULE), X[None], key=key, **how)
    np.testing.assert_allclose(np.exp(log_p[0]), P, atol=5 * 0.5 / 4000**0.5)


def test_deterministic_samplers_agree_as_their_steps_grow(key):
    """DDIM and Heun solve one ODE: from the same starts the share of different classes goes to zero."""
    fine = classes(no.ODE(diffrax.Heun(), steps=300), key, 1000)
    gaps = [np.mean(classes(no.Ancestral(steps, churn=0.0), key, 1000) != fine) for steps in (3, 300)]
    assert gaps[1] < 0.01 < gaps[0]
