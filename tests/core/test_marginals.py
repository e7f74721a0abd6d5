"""The Gaussian path: one step keeps its marginals, two steps are one, and the KL of its start is the closed form."""

import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import SCHEDULES, assert_standard_normal, modest, scalar
from hypothesis import given
from scipy.stats import norm

import noprop_ode as no


PAIRS = [(0.0, 1.0), (0.0, 0.1), (0.3, 0.31), (0.5, 0.9), (0.9, 1.0), (0.999, 1.0)]
CHURNS = [0.0, 0.3, 0.9, 1.0]


@eqx.filter_jit
def _coefficients(schedule, s, t, churn):
    return no.ancestral_coefficients(schedule, s, t, churn)


def coefficients(schedule, s, t, churn):
    return tuple(map(float, _coefficients(schedule, scalar(s), scalar(t), churn)))


def amplitudes(schedule, t):
    return tuple(map(float, schedule.alpha_sigma(scalar(t))))


@pytest.mark.parametrize("churn", CHURNS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_step_carries_one_marginal_to_the_next(name, churn):
    schedule = SCHEDULES[name]()
    for s, t in PAIRS:
        a, b, c = coefficients(schedule, s, t, churn)
        (alpha_s, sigma_s), (alpha_t, sigma_t) = amplitudes(schedule, s), amplitudes(schedule, t)
        assert a + b * alpha_s == pytest.approx(alpha_t, rel=1e-5)
        assert b**2 * sigma_s**2 + c**2 == pytest.approx(sigma_t**2, rel=1e-5)


@pytest.mark.parametrize("s, t", PAIRS)
def test_churn_one_is_the_step_of_the_paper(s, t):
    """Against eq. 3 and 6 in float64, on a schedule whose log-SNR is known without the library."""
    a, b, c = coefficients(no.LinearSchedule(-7.0, 7.0), s, t, 1.0)
    s, t = float(np.float32(s)), float(np.float32(t))
    log_snr_s, log_snr_t = 14 * s - 7, 14 * t - 7
    alpha_s, alpha_t = np.sqrt(1 / (1 + np.exp(-log_snr_s))), np.sqrt(1 / (1 + np.exp(-log_snr_t)))
    r = np.exp(log_snr_s - log_snr_t)
    assert a == pytest.approx(alpha_t * (1 - r), rel=1e-3)
    assert b == pytest.approx(alpha_t / alpha_s * r, rel=1e-5)
    assert c**2 == pytest.approx((1 - r) / (1 + np.exp(log_snr_t)), rel=1e-3)


@pytest.mark.parametrize("name", SCHEDULES)
def test_churn_zero_is_ddim(name):
    schedule = SCHEDULES[name]()
    for s, t in PAIRS:
        a, b, c = coefficients(schedule, s, t, 0.0)
        (alpha_s, sigma_s), (alpha_t, sigma_t) = amplitudes(schedule, s), amplitudes(schedule, t)
        assert c == 0
        assert b == pytest.approx(sigma_t / sigma_s, rel=1e-5)
        assert a == pytest.approx(alpha_t - sigma_t / sigma_s * alpha_s, abs=1e-6)


@modest
@given(st.floats(0, 0.25), st.floats(0.375, 0.625), st.floats(0.75, 1), st.sampled_from([0.0, 1.0]))
def test_two_steps_with_the_true_embedding_are_one(s, m, t, churn):
    """In law, for the paper's step, and exactly, for DDIM: the coefficients compose."""
    for make in SCHEDULES.values():
        schedule = make(-5.0, 5.0)
        a1, b1, c1 = coefficients(schedule, s, m, churn)
        a2, b2, c2 = coefficients(schedule, m, t, churn)
        a, b, c = coefficients(schedule, s, t, churn)
        assert a2 + b2 * a1 == pytest.approx(a, abs=1e-5)
        assert b2 * b1 == pytest.approx(b, abs=1e-5)
        assert c2**2 + b2**2 * c1**2 == pytest.approx(c**2, abs=1e-5)


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_draws_of_the_marginal_have_its_mean_and_variance(key, t):
    schedule, u = no.CosineSchedule(), jnp.array([1.0, -2.0, 0.5], dtype=jnp.float32)
    zs = jax.vmap(lambda key: no.marginal_sample(u, scalar(t), schedule, key=key))(jr.split(key, 20_000))
    alpha, sigma = amplitudes(schedule, t)
    assert_standard_normal((np.asarray(zs) - alpha * np.asarray(u)) / sigma)


def power(log_snr):
    """alpha and sigma of a log-SNR, float64."""
    return np.sqrt(1 / (1 + np.exp(-log_snr))), np.sqrt(1 / (1 + np.exp(log_snr)))


@pytest.mark.parametrize("log_snr", [-7.0, -1.0, 2.0])
def test_the_kl_is_its_monte_carlo_estimate(log_snr):
    u, rng = np.array([0.7, -1.2, 0.1]), np.random.default_rng(0)
    alpha, sigma = power(log_snr)
    z = alpha * u + sigma * rng.normal(size=(200_000, 3))
    log_ratio = (norm.logpdf(z, alpha * u, sigma) - norm.logpdf(z)).sum(axis=1)
    kl = float(no.kl_to_standard_normal(jnp.asarray(u, jnp.float32), scalar(alpha), scalar(sigma)))
    assert kl == pytest.approx(log_ratio.mean(), abs=5 * log_ratio.std() / len(z) ** 0.5 + 1e-6)


@modest
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8), st.floats(-20, 20))
def test_the_kl_is_positive_wherever_there_is_signal(u, log_snr):
    with jax.enable_x64(True):
        kl = no.kl_to_standard_normal(jnp.asarray(u), *map(jnp.asarray, power(log_snr)))
        assert float(kl) > -1e-14 if log_snr < -14 else float(kl) > 0


@pytest.mark.parametrize("log_snr", [-10.0, -14.0, -17.0])
def test_the_kl_of_little_signal_is_that_of_double_precision(log_snr):
    alpha, sigma = no.LinearSchedule(log_snr, 5.0).alpha_sigma(scalar(0))
    snr = np.float64(alpha) ** 2
    for u in ([1.0, 0.0, 0.0], [0.0, 0.0, 0.0]):
        exact = 0.5 * (snr * np.sum(np.square(u)) - 3 * snr - 3 * np.log1p(-snr))
        found = no.kl_to_standard_normal(jnp.asarray(u, jnp.float32), alpha, sigma)
        np.testing.assert_allclose(found, exact, rtol=5e-3, atol=1e-12)


def test_the_kl_is_zero_without_signal():
    assert float(no.kl_to_standard_normal(jnp.ones(4, jnp.float32), scalar(0), scalar(1))) == 0
