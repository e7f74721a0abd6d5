"""Samplers with the perfect denoiser, which carries the start of the Gaussian path to its end."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import SCHEDULES, Simplex, assert_standard_normal, carry, one_hot_image, perfect_model, scalar

import noprop_ode as no


LABEL = 2
X = one_hot_image(LABEL, 3)


def path(schedule, t):
    """The mean and the deviation of q(z_t | y), NumPy."""
    alpha, sigma = schedule.alpha_sigma(scalar(t))
    return np.asarray(alpha * Simplex()(LABEL)), float(sigma)


def flow(schedule, z0s, t):
    """The exact solution of the probability-flow ODE for a constant prediction."""
    (mean_0, sigma_0), (mean_t, sigma_t) = path(schedule, 0.0), path(schedule, t)
    return mean_t + sigma_t / sigma_0 * (np.asarray(z0s) - mean_0)


@pytest.mark.parametrize(
    "name, steps, churn", [("cosine", 1, 1.0), ("cosine", 3, 0.5), ("sigmoid", 10, 1.0), ("learned", 10, 0.5)]
)
def test_ancestral_steps_are_exact_in_law_however_few(key, name, steps, churn):
    schedule = SCHEDULES[name]()
    noise_key, path_key = jr.split(key)
    mean, sigma = path(schedule, 0.0)
    z0s = jnp.asarray(mean + sigma * np.asarray(jr.normal(noise_key, (20_000, 2))), jnp.float32)
    z1s = carry(perfect_model(schedule=schedule), no.Ancestral(steps, churn), X, z0s, key=path_key)
    mean, sigma = path(schedule, 1.0)
    assert_standard_normal((np.asarray(z1s) - mean) / sigma)


@pytest.mark.parametrize("churn", [0.5, 1.0])
def test_noise_is_fresh_in_every_step_and_for_every_key(key, churn):
    """From one start, the ends spread; two draws of a path share nothing but what the steps keep of the start."""
    schedule, steps = no.LinearSchedule(-3.0, 3.0), 3
    z1s = np.asarray(
        carry(perfect_model(schedule=schedule), no.Ancestral(steps, churn), X, jnp.zeros((20_000, 2)), key=key)
    )
    kept, variance = 1.0, 0.0
    for i in range(steps):
        _, b, c = no.ancestral_coefficients(schedule, scalar(i / steps), scalar((i + 1) / steps), churn)
        kept, variance = kept * float(b), variance * float(b) ** 2 + float(c) ** 2
    mean = path(schedule, 1.0)[0] - kept * path(schedule, 0.0)[0]
    assert_standard_normal((z1s - mean) / variance**0.5)


def starts(n=50):
    return jr.normal(jr.key(3), (n, 2), jnp.float32)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_ddim_is_exact(key, name, steps):
    schedule = SCHEDULES[name]()
    z1s = carry(perfect_model(schedule=schedule), no.Ancestral(steps, churn=0.0), X, starts(), key=key)
    np.testing.assert_allclose(z1s, flow(schedule, starts(), 1.0), atol=1e-5)


def solver_error(solver, steps, schedule):
    z1s = carry(perfect_model(schedule=schedule), no.ODE(solver, steps=steps), X, starts(), key=jr.key(0))
    return np.max(np.abs(np.asarray(z1s) - flow(schedule, starts(), 1.0)))


@pytest.mark.parametrize(
    "solver, order, steps",
    [
        (diffrax.Euler(), 1, 64),
        (diffrax.Heun(), 2, 16),
        (diffrax.Midpoint(), 2, 16),
        (diffrax.Ralston(), 2, 16),
        (diffrax.Bosh3(), 3, 8),
    ],
    ids=lambda p: type(p).__name__ if isinstance(p, diffrax.AbstractSolver) else str(p),
)
def test_fixed_steps_converge_at_the_order_of_the_solver(solver, order, steps):
    schedule = no.LinearSchedule(-3.0, 3.0)
    errors = [solver_error(solver, n, schedule) for n in (steps, 2 * steps)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_adaptive_steps_meet_their_tolerance(key, tolerance):
    schedule = no.CosineSchedule()
    sampler = no.ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance))
    z1s = carry(perfect_model(schedule=schedule), sampler, X, starts(), key=key)
    assert np.max(np.abs(np.asarray(z1s) - flow(schedule, starts(), 1.0))) < 10 * tolerance


@pytest.mark.parametrize(
    "sampler",
    [
        no.Ancestral(1),
        no.Ancestral(8, churn=0.5),
        no.Ancestral(8, churn=0.0),
        no.ODE(diffrax.Euler(), steps=400),
        no.ODE(diffrax.Heun(), steps=100),
        no.ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=1e-4)),
    ],
    ids=["paper", "churn", "ddim", "euler", "heun", "tsit5"],
)
def test_every_sampler_carries_standard_noise_to_the_embedding(key, sampler):
    """z_0 is N(0, I) and not q(z_0 | y): what is left of the difference at the end is at most alpha_0 sigma_1 |u|."""
    schedule = no.CosineSchedule(-10.0, 4.0)
    noise_key, path_key = jr.split(key)
    z1s = carry(
        perfect_model(schedule=schedule), sampler, X, jr.normal(noise_key, (5000, 2), jnp.float32), key=path_key
    )
    mean, sigma = path(schedule, 1.0)
    assert_standard_normal((np.asarray(z1s) - mean) / sigma)


def test_without_the_last_step_a_sampler_stops_where_it_would_begin(key):
    model, z0, features = perfect_model(), starts(1)[0], X.reshape(-1)
    ddim, euler = no.Ancestral(4, churn=0.0), no.ODE(diffrax.Euler(), steps=4)
    end = ddim.sample(model, z0, features, key=key, t1=ddim.last_step_start)
    assert float(end.t) == 0.75
    np.testing.assert_allclose(end.z, flow(model.schedule, z0, 0.75), atol=1e-5)
    assert float(euler.sample(model, z0, features, key=key, t1=euler.last_step_start).t) == 0.75
    adaptive = no.ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-3))
    assert adaptive.last_step_start == 1


@pytest.mark.parametrize("t1, steps", [(0.3, 2), (0.5, 2), (0.9, 4), (1.0, 4)])
def test_a_sampler_stops_at_any_time(key, t1, steps):
    """A DDIM step is exact for the perfect denoiser, so the step that is cut short is exact too."""
    model, z0, sampler = perfect_model(), starts(1)[0], no.Ancestral(4, churn=0.0)
    end = sampler.sample(model, z0, X.reshape(-1), key=key, t1=t1)
    assert float(end.t) == pytest.approx(t1)
    np.testing.assert_allclose(end.z, flow(model.schedule, z0, t1), atol=1e-5)
    assert float(end.num_evaluations) == sampler.full_evaluations(t1=t1) == steps


def test_a_last_step_that_is_cut_short_leaves_the_others_as_they_are(key):
    """Its ends tell: by Euler the way of a perfect denoiser is not exact."""
    model, z0, features, times = perfect_model(), starts(1)[0], X.reshape(-1), [0.0, 0.25, 0.5, 0.75, 0.9]
    sampler = no.ODE(diffrax.Euler(), steps=4)
    found = sampler.solve(model, z0, features, key=key, t1=0.9, saveat=diffrax.SaveAt(ts=jnp.asarray(times[1:])))
    for start, end, z in zip(times, times[1:], found.ys):
        z0 = z0 + (end - start) * model.velocity(jnp.asarray(start, jnp.float32), z0, features)
        np.testing.assert_allclose(z, z0, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sampler", [no.Ancestral(1), no.ODE(diffrax.Heun(), steps=1)])
def test_without_its_only_step_a_sampler_stays(key, sampler):
    z0 = starts(1)[0]
    end = sampler.sample(perfect_model(), z0, X.reshape(-1), key=key, t1=sampler.last_step_start)
    np.testing.assert_array_equal(end.z, z0)
    assert float(end.t) == float(end.num_evaluations) == 0


def test_a_trajectory_follows_the_flow(key):
    schedule, z0, ts = no.LinearSchedule(-4.0, 4.0), starts(1)[0], jnp.linspace(0, 1, 9, dtype=jnp.float32)
    model = perfect_model(schedule=schedule)
    expected = np.stack([flow(schedule, z0, t) for t in np.asarray(ts)])
    adaptive = no.ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-5, atol=1e-5))
    for sampler, atol in (
        (no.Ancestral(8, churn=0.0), 1e-5),
        (adaptive, 1e-3),
        (no.ODE(diffrax.Heun(), steps=64), 3e-3),
    ):
        zs = eqx.filter_jit(sampler.trajectory)(model, z0, X.reshape(-1), ts, key=key)
        np.testing.assert_allclose(zs, expected, atol=atol)


def test_a_stochastic_sampler_depends_on_its_key_and_a_deterministic_one_does_not():
    for sampler in (no.Ancestral(2), no.Ancestral(2, churn=0.0), no.ODE(diffrax.Euler(), steps=2)):
        ends = [np.asarray(carry(perfect_model(), sampler, X, starts(1), key=jr.key(seed))) for seed in (0, 0, 1)]
        assert np.array_equal(ends[0], ends[1])
        assert np.array_equal(ends[0], ends[2]) != sampler.stochastic


def test_the_velocity_is_the_derivative_of_the_flow():
    schedule, z0 = no.CosineSchedule(), starts(1)[0]
    model = perfect_model(schedule=schedule)

    def state(t):
        (alpha_0, sigma_0), (alpha, sigma) = schedule.alpha_sigma(scalar(0)), schedule.alpha_sigma(t)
        u = Simplex()(LABEL)
        return alpha * u + sigma / sigma_0 * (z0 - alpha_0 * u)

    for t in map(scalar, (0.0, 0.2, 0.5, 0.8, 1.0)):
        z, rate = jax.jvp(state, (t,), (scalar(1),))
        np.testing.assert_allclose(model.velocity(t, z, X.reshape(-1)), rate, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("controller", [diffrax.StepTo(jnp.asarray([0.0, 0.2, 1.0])), diffrax.ConstantStepSize()])
def test_a_controller_that_does_not_adapt_is_refused(controller):
    with pytest.raises(ValueError, match=r"known beforehand.* give steps=\.\.\. for equal steps"):
        no.ODE(diffrax.Heun(), stepsize_controller=controller)


@pytest.mark.parametrize("solver, calls", [(diffrax.ShARK(), 2), (diffrax.SlowRK(), 2), (diffrax.GeneralShARK(), 2)])
def test_stages_of_the_noise_alone_are_not_counted(solver, calls):
    assert no.SDE(3, solver).full_evaluations() == 3 * calls
    assert no.SDE(3, solver).full_evaluations(t1=0.0) == 0


def test_a_solve_takes_another_adjoint(key):
    model, z0 = perfect_model(), jnp.zeros(2)
    adaptive = no.ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-3))
    for sampler in (no.ODE(diffrax.Heun(), steps=2), adaptive):
        found = sampler.solve(model, z0, model.field.encode(X), key=key, adjoint=diffrax.DirectAdjoint())
        own = sampler.solve(model, z0, model.field.encode(X), key=key)
        np.testing.assert_allclose(found.ys, own.ys, rtol=1e-5)
