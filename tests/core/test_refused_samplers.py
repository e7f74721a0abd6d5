"""Samplers, terms and numbers that have no meaning: each is refused when it is given, or gives no number."""

import diffrax
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import blobs, mlp_model, perfect_model

import noprop_ode as no
from noprop_ode._prediction.predict import _OKAY


KEY = jr.key(0)


def test_the_codes_of_a_good_solve_are_those_of_diffrax():
    """Predictions compare codes on the host, where `is_okay` would compile."""
    for name in diffrax.RESULTS._name_to_item:
        result = getattr(diffrax.RESULTS, name)
        (code,) = jax.tree.leaves(result)
        assert (int(code) in _OKAY) == bool(diffrax.is_okay(result)), name


def test_trajectories_trace_with_times_that_are_known_later():
    model, (xs, _) = mlp_model(), blobs(2)
    run = jax.jit(lambda ts: no.trajectories(model, xs, ts, key=KEY, sampler=no.Ancestral(2)).zs)
    assert run(jnp.array([0.0, 1.0])).shape[:2] == (2, 2)


@pytest.mark.parametrize(
    "solver", [diffrax.Heun(), diffrax.Midpoint(), diffrax.Tsit5()], ids=lambda s: type(s).__name__
)
def test_the_ancestral_step_refuses_solvers_of_many_stages(solver):
    term = no.AncestralTerm(perfect_model(), 1.0, KEY)
    z0, features = jnp.zeros(2, jnp.float32), jnp.zeros(3, jnp.float32)
    with pytest.raises(TypeError, match=r"works with diffrax\.Euler only.*noprop_ode\.ODE"):
        diffrax.diffeqsolve(term, solver, t0=0.0, t1=1.0, dt0=0.25, y0=z0, args=features)


@pytest.mark.parametrize(
    "solver",
    [diffrax.LeapfrogMidpoint(), diffrax.ReversibleHeun()],
    ids=lambda s: type(s).__name__,
)
def test_the_ancestral_step_is_nan_for_solvers_that_evaluate_it_elsewhere(solver):
    term = no.AncestralTerm(perfect_model(), 0.0, None)
    z0, features = jnp.zeros(2, jnp.float32), jnp.zeros(3, jnp.float32)
    ends = [
        diffrax.diffeqsolve(term, s, t0=0.0, t1=1.0, dt0=0.25, y0=z0, args=features, throw=False).ys
        for s in (diffrax.Euler(), solver)
    ]
    assert bool(jnp.isfinite(ends[0]).all()) and bool(jnp.isnan(ends[1]).any())


def test_blocks_trained_through_each_other_take_no_steps_but_their_own():
    blocks = no.Blocks(lambda key: no.nn.MLPField((2, 2, 1), 3, 3, width=4, key=key), 2, key=KEY)
    model = no.Backprop(blocks, embedding=no.OneHot(3))
    xs, _ = blobs(4)
    assert no.predict_log_proba(model, xs, key=KEY).shape == (4, 3)
    for sampler in (no.ODE(diffrax.Euler(), steps=3), no.ODE(diffrax.Heun(), steps=2)):
        with pytest.raises(TypeError, match=r"Backprop is trained as one Euler step per block.*Euler\(\), steps=2\)"):
            no.predict_log_proba(model, xs, key=KEY, sampler=sampler, decoder=no.ReadoutDecoder())
        with pytest.raises(TypeError, match="one Euler step per block"):
            no.trajectories(model, xs, jnp.array([0.0, 1.0]), key=KEY, sampler=sampler)


@pytest.mark.parametrize(
    "solver",
    [diffrax.ShARK(), diffrax.EulerHeun(), diffrax.SemiImplicitEuler(), diffrax.KenCarp3(), diffrax.ALIGN(0.1)],
    ids=lambda s: type(s).__name__,
)
def test_a_solver_of_something_else_than_an_ode_is_refused_when_it_is_given(solver):
    with pytest.raises(TypeError, match=f"{type(solver).__name__} does not solve ODEs"):
        no.ODE(solver, steps=3)


@pytest.mark.parametrize(
    "solver", [diffrax.ALIGN(0.1), diffrax.Tsit5(), diffrax.KenCarp3()], ids=lambda s: type(s).__name__
)
def test_a_solver_of_another_sde_is_refused_when_it_is_given(solver):
    with pytest.raises(TypeError, match=f"{type(solver).__name__} does not solve SDEs"):
        no.SDE(3, solver)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: no.ODE(diffrax.Heun(), steps=4, max_steps=0), "max_steps must be a positive integer; got 0"),
        (lambda: no.AncestralTerm(perfect_model(), 2.0, KEY), r"churn must lie in \[0, 1\].*got 2.0"),
        (lambda: no.AncestralTerm(perfect_model(), 1.0, None), "Fresh noise needs a key.*churn=1.0"),
        (
            lambda: no.ancestral_coefficients(no.CosineSchedule(), jnp.zeros(()), jnp.ones(()), 2.0),
            r"churn must lie in \[0, 1\].*got 2.0",
        ),
        (lambda: no.cosine_grid(4, max_beta=2.0), "max_beta in .*max_beta=2.0"),
        (lambda: no.linear_grid(4, beta_last=-1.0), "beta_last.*beta_last=-1.0"),
        (lambda: no.LinearReadout(0, 5, key=KEY), "at least 2 classes; got dim=0"),
        (lambda: no.LinearReadout(3, -1, key=KEY), "at least 2 classes; got .*num_classes=-1"),
        (lambda: no.PowerTimes(float("inf")), "positive and finite; got inf"),
        (lambda: no.calibration_error(np.log([[0.5, 0.5]], dtype=np.float32), np.array([0]), num_bins=0), "num_bins=0"),
        (lambda: no.prototypes(np.zeros((3, 2, 2, 1), np.uint8), np.array([0, 1, 5]), 2), "labels .*5"),
        (lambda: no.prototypes(np.zeros((2, 2, 2, 1), np.uint8), np.array([0, 1]), 2, chunk=0), "chunk=0"),
        (
            lambda: no.trajectories(
                perfect_model(),
                np.zeros((2, 2, 2, 1), np.uint8),
                jnp.array([1.0, 0.5]),
                key=KEY,
                sampler=no.Ancestral(2),
            ),
            r"strictly increasing times in \[0, 1\]; got ts=\[1.0, 0.5\]",
        ),
        (
            lambda: no.Ancestral(4).sample(
                perfect_model(), jnp.zeros(2, jnp.float32), jnp.zeros(3, jnp.float32), key=KEY, t1=1.5
            ),
            r"t1 in \[0, 1\]; got 1.5",
        ),
    ],
)
def test_bad_numbers(call, message):
    with pytest.raises(ValueError, match=message):
        call()
