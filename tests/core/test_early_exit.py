"""Stopping early, and looking at whole trajectories."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import Watched, blobs, mlp_model, one_hot_image, oracle_model, perfect_model

import noprop_ode as no


LOG_P = jnp.log(jnp.array([0.5, 0.3, 0.2], jnp.float32)).reshape(1, 1, 3)
SAMPLERS = {
    "heun": no.ODE(diffrax.Heun(), steps=12),
    "tsit5": no.ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-3)),
    "ancestral": no.Ancestral(12),
    "ddim": no.Ancestral(12, churn=0.0),
    "sde": no.SDE(12),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("to_the_end", [True, False])
def test_evaluations_are_counted_looks_included(name, to_the_end, key):
    model = oracle_model()
    watched = eqx.tree_at(lambda m: m.field, model, Watched(model.field))
    sampler, features = no.EarlyExit(SAMPLERS[name], confidence=0.99), LOG_P.reshape(-1)
    z0 = jr.normal(jr.key(5), (2,), jnp.float32)
    t1 = 1.0 if to_the_end else sampler.last_step_start
    end = eqx.filter_jit(sampler.sample)(watched, z0, features, key=key, t1=t1)
    jax.block_until_ready(end.z)
    assert float(end.t) == 1 if to_the_end else 0 < float(end.t) < 1
    if name != "tsit5":  # its rejected steps evaluate without a look
        # The long step is computed in any case, and counted where it is taken.
        assert 0 <= watched.field.calls.n - float(end.num_evaluations) <= to_the_end


@pytest.mark.parametrize("name", ["heun", "ddim", "tsit5"])
def test_the_class_is_that_of_the_whole_trajectory(name, key):
    """Once the posterior is sure, the rest of the way changes nothing."""
    model, features = oracle_model(), LOG_P.reshape(-1)

    @eqx.filter_jit
    def classes(sampler, z0s):
        def one(z0):
            return jnp.argmax(model.readout(sampler.sample(model, z0, features, key=key).z, model.embedding))

        return jax.vmap(one)(z0s)

    z0s = jr.normal(jr.key(1), (200, 2), jnp.float32)
    early, full = (classes(s, z0s) for s in (no.EarlyExit(SAMPLERS[name], confidence=0.999), SAMPLERS[name]))
    assert len(set(np.asarray(full).tolist())) == 3
    assert np.mean(np.asarray(early) == np.asarray(full)) >= 0.97


def test_the_long_step_is_exact_for_a_sure_network(key):
    """The perfect denoiser is sure at once, and the long step is then the exact DDIM step from t = 0."""
    model, z0 = perfect_model(), jr.normal(key, (2,), jnp.float32)
    features = one_hot_image(1, 3).reshape(-1)
    end = no.EarlyExit(no.ODE(diffrax.Heun(), steps=50)).sample(model, z0, features, key=key)
    exact = no.Ancestral(1, churn=0.0).sample(model, z0, features, key=key)
    np.testing.assert_allclose(end.z, exact.z, atol=1e-5)
    assert float(end.num_evaluations) < 10 and float(end.t) == 1


def test_flow_matching_stops_early_too(key):
    model = no.NoPropFM(mlp_model().field, embedding=no.OneHot(3), sigma=0.2)
    sampler = no.EarlyExit(no.ODE(diffrax.Euler(), steps=6), confidence=0.34)
    found = no.evaluate(model, *blobs(6), key=key, sampler=sampler, start="noise", draws=1)
    assert found.num_saved == pytest.approx(6 - found.num_evaluations)
    assert found.num_evaluations < 6


def test_what_was_saved_is_reported(key):
    xs = np.stack([np.asarray(one_hot_image(y, 3)) for y in (0, 1, 2)])
    how = {"key": key, "start": "noise", "decoder": no.ReadoutDecoder()}
    sampler = no.ODE(diffrax.Heun(), steps=50)
    assert no.evaluate(perfect_model(), xs, np.arange(3), sampler=sampler, **how).num_saved == 0
    found = no.evaluate(perfect_model(), xs, np.arange(3), sampler=no.EarlyExit(sampler), **how)
    assert found.accuracy == 1 and found.num_saved > 90


def test_a_single_step_has_nothing_to_stop(key):
    z0 = jnp.ones(2, jnp.float32)
    for t1 in (1.0, 0.0):
        both = [
            s.sample(perfect_model(), z0, one_hot_image(0, 3).reshape(-1), key=key, t1=t1)
            for s in (no.Ancestral(1), no.EarlyExit(no.Ancestral(1)))
        ]
        np.testing.assert_array_equal(both[0].z, both[1].z)


@pytest.mark.parametrize("confidence", [0.0, 1.5])
def test_a_confidence_is_a_probability(confidence):
    with pytest.raises(ValueError, match="confidence"):
        no.EarlyExit(no.Ancestral(2), confidence=confidence)


def test_trajectories_begin_with_noise_and_carry_posteriors(key):
    ts = np.linspace(0, 1, 5)
    xs, _ = blobs(4)
    for start in ("noise", "mean"):
        found = no.trajectories(mlp_model(), xs, ts, key=key, sampler=SAMPLERS["ddim"], start=start)
        assert found.zs.shape == (4, 5, 3) and found.log_posteriors.shape == (4, 5, 3)
        np.testing.assert_allclose(np.exp(found.log_posteriors).sum(-1), 1, rtol=1e-5)
        assert bool(jnp.any(found.zs[:, 0] != 0)) == (start == "noise")


def test_flow_matching_by_blocks_takes_the_long_step(key):
    blocks = no.Blocks(lambda key: no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=key), 4, key=key)
    model = no.NoPropFM(blocks, embedding=no.OneHot(3))
    sampler = no.EarlyExit(no.ODE(diffrax.Euler(), steps=4), confidence=0.01)
    xs = np.zeros((2, 2, 2, 1), np.float32)
    found = no.evaluate(
        model, xs, np.zeros(2, np.int32), key=key, start="noise", sampler=sampler, draws=1, decoder=no.ReadoutDecoder()
    )
    assert np.isfinite(found.nll) and found.num_evaluations < 9  # of four steps with a look after each
