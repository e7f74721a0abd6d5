"""Noise schedules: one dictionary of constructors through shared invariants."""

import equinox as eqx
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import SCHEDULES, modest, scalar
from hypothesis import given, settings

import noprop_ode as no


GRID = np.linspace(0, 1, 129)
ENDS = [(-7.0, 7.0), (-3.0, 5.0), (-12.0, 20.0)]


@pytest.fixture(params=SCHEDULES)
def make(request):
    return SCHEDULES[request.param]


def in_double(schedule):
    return jax.tree.map(lambda a: a.astype(jnp.float64) if eqx.is_array(a) else a, schedule)


def on(ts, function, dtype=jnp.float32):
    """The values of a function of time at many times."""
    return jax.tree.map(np.asarray, jax.vmap(function)(jnp.asarray(ts, dtype=dtype)))


@pytest.mark.parametrize("ends", ENDS)
def test_the_ends_are_those_asked_for(make, ends):
    schedule = make(*ends)
    np.testing.assert_allclose(on([0.0, 1.0], schedule.log_snr), ends, rtol=2e-6)


@pytest.mark.parametrize("ends", ENDS)
def test_amplitudes_preserve_the_variance_and_have_the_snr_as_their_ratio(make, ends):
    schedule = make(*ends)
    alpha, sigma = on(GRID, schedule.alpha_sigma)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-6)
    np.testing.assert_allclose(alpha**2 / sigma**2, on(GRID, schedule.snr), rtol=1e-5)


@pytest.mark.parametrize("ends", ENDS)
def test_log_snr_increases_strictly(make, ends):
    assert (np.diff(on(GRID, make(*ends).log_snr)) > 0).all()


@pytest.mark.parametrize("ends", ENDS)
def test_rates_are_the_slopes_of_what_they_differentiate(make, ends):
    with jax.enable_x64(True):
        schedule, h, ts = in_double(make(*ends)), 1e-6, GRID[1:-1]
        for value, rate in [(schedule.log_snr, schedule.log_snr_rate), (schedule.snr, schedule.snr_rate)]:
            slope = (on(ts + h, value, jnp.float64) - on(ts - h, value, jnp.float64)) / (2 * h)
            np.testing.assert_allclose(on(ts, rate, jnp.float64), slope, rtol=1e-5, atol=1e-7)


def test_snr_increment_is_the_difference(make):
    with jax.enable_x64(True):
        schedule = in_double(make(-7.0, 7.0))
        s, t = jnp.asarray(GRID[:-1]), jnp.asarray(GRID[1:])
        difference = jax.vmap(schedule.snr)(t) - jax.vmap(schedule.snr)(s)
        np.testing.assert_allclose(jax.vmap(schedule.snr_increment)(s, t), difference, rtol=1e-10)


def test_snr_increment_keeps_its_precision_for_a_thousand_steps(make):
    """Within the rounding of the log-SNR itself, a few 1e-7 of its size."""
    schedule, s = make(-7.0, 7.0), GRID[:-1].astype(np.float32)
    t = (s + np.float32(1e-3)).astype(np.float32)
    single = np.asarray(jax.vmap(schedule.snr_increment)(jnp.asarray(s), jnp.asarray(t)))
    with jax.enable_x64(True):
        exact = in_double(schedule)
        s, t = (jnp.asarray(a.astype(np.float64)) for a in (s, t))
        double, snr = np.asarray(jax.vmap(exact.snr_increment)(s, t)), np.asarray(jax.vmap(exact.snr)(s))
    assert (single > 0).all()
    assert (np.abs(single - double) < 1e-5 * snr).all()


def test_the_increment_times_the_number_of_steps_tends_to_the_rate(make):
    """The discrete-time weight tends to the continuous-time weight, at first order in the step."""
    with jax.enable_x64(True):
        schedule, ts = in_double(make(-7.0, 7.0)), jnp.asarray(GRID[:-8])
        rate = jax.vmap(schedule.snr_rate)(ts)

        def gap(steps):
            return np.max(np.abs(steps * jax.vmap(schedule.snr_increment)(ts, ts + 1 / steps) / rate - 1))

        assert gap(10_000) < 0.01
        assert gap(1000) / gap(10_000) == pytest.approx(10, rel=0.2)


@eqx.filter_jit
def on_grid(schedule, ts):
    """Everything a schedule says."""
    alpha, sigma = jax.vmap(schedule.alpha_sigma)(ts)
    log_snr, rate = jax.vmap(schedule.log_snr)(ts), jax.vmap(schedule.log_snr_rate)(ts)
    return log_snr, rate, jax.vmap(schedule.snr)(ts), jax.vmap(schedule.snr_rate)(ts), alpha, sigma


def assert_sound(schedule):
    """Finite and increasing in float32 everywhere, as far as float32 can tell; strictly so in float64."""
    log_snr, *positive = values = [np.asarray(a) for a in on_grid(schedule, jnp.asarray(GRID, jnp.float32))]
    assert all(np.isfinite(a).all() for a in values)
    assert (np.diff(log_snr) >= -1e-5 * np.abs(log_snr).max()).all()
    assert all((a > 0).all() for a in positive)
    with jax.enable_x64(True):
        rate = on_grid(in_double(schedule), jnp.asarray(GRID))[1]
        assert (np.asarray(rate) > 0).all()


@st.composite
def ends(draw):
    # The rate of SNR is at most SNR(1) squared (sigmoid schedule), which float32 holds up to a log-SNR of 44.
    start = draw(st.floats(-80, 39, width=32))
    return start, draw(st.floats(start + 0.5, 40))


@settings(modest, max_examples=5)
@given(ends())
def test_any_ends_give_a_sound_schedule(ends):
    for make in SCHEDULES.values():
        assert_sound(make(*ends))


WIDE = [(-7.0, 7.0), (-80.0, 40.0), (-1.0, 1.0), (20.0, 40.0)]


@modest
@given(st.sampled_from(WIDE), st.floats(-1e4, 1e4, width=32))
def test_any_slope_gives_a_sound_schedule(ends, raw_slope):
    assert_sound(eqx.tree_at(lambda s: s.raw_slope, no.SigmoidSchedule(6.0, *ends), scalar(raw_slope)))


def raw(limit=1e4):
    return hnp.arrays(np.float32, 4, elements=st.floats(-limit, limit, width=32))


@settings(modest, max_examples=100)
@given(st.sampled_from(WIDE), raw(), raw(), raw())
def test_any_monotone_network_gives_a_sound_schedule(ends, raw_in, bias, raw_out):
    schedule = no.LearnedSchedule(*ends, width=4, key=jr.key(0))
    where = lambda s: (s.raw_in, s.bias, s.raw_out)  # noqa: E731
    assert_sound(eqx.tree_at(where, schedule, tuple(map(jnp.asarray, (raw_in, bias, raw_out)))))


@pytest.mark.parametrize("raw_span", [-1e4, -100.0, -1.0, 14.0])
def test_a_learned_span_never_closes(raw_span):
    schedule = no.LearnedSchedule(width=4, key=jr.key(0))
    assert_sound(eqx.tree_at(lambda s: s.raw_span, schedule, scalar(raw_span)))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("bad", [(7.0, -7.0), (1.0, 1.0), (-81.0, 7.0), (-7.0, 81.0), (float("nan"), 7.0)])
def test_bad_ends_are_refused(name, bad):
    with pytest.raises(ValueError, match=r"-80 <= log_snr_0 < log_snr_1 <= 40.*got log_snr_0="):
        SCHEDULES[name](*bad)


@pytest.mark.parametrize("slope", [0.0, -1.0, 51.0, float("nan")])
def test_a_bad_slope_is_refused(slope):
    with pytest.raises(ValueError, match="slope of a sigmoid schedule"):
        no.SigmoidSchedule(slope)


def test_the_slope_is_the_one_asked_for():
    for slope in (0.02, 1.0, 6.0, 49.0):
        assert float(no.SigmoidSchedule(slope).slope) == pytest.approx(slope, rel=1e-3)


def test_a_learned_schedule_needs_a_unit(key):
    with pytest.raises(ValueError, match="width of a learned schedule"):
        no.LearnedSchedule(width=0, key=key)


def test_a_learned_schedule_starts_near_the_linear_one(key):
    ts = GRID
    gap = on(ts, no.LearnedSchedule(key=key).log_snr) - on(ts, no.LinearSchedule().log_snr)
    assert np.abs(gap).max() < 1.0


@pytest.mark.parametrize("raw_out", [1e4, 1e6])
def test_a_large_unit_that_is_saturated_changes_nothing(raw_out, key):
    """In float32 a difference of two sums of this size has no digits left for the others."""
    where = lambda s: (s.raw_in, s.bias, s.raw_out)  # noqa: E731
    units = jnp.asarray([1.0]), jnp.asarray([30.0]), jnp.asarray([raw_out])
    schedule = eqx.tree_at(where, no.LearnedSchedule(width=1, key=key), units)
    np.testing.assert_allclose(on(GRID, schedule.log_snr), on(GRID, no.LinearSchedule().log_snr), atol=1e-4)
