"""Where float32, or what a user may do, comes to its end."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import Oracle, TrueClass, blobs, oracle_model, scalar

import noprop_ode as no
from noprop_ode._prediction.alike import predict_alike


STEEP = {
    "sigmoid": (no.SigmoidSchedule(49.0), 100),
    "grid": (no.GridSchedule((-7.0, -6.9, 7.0)), 1001),
}


@pytest.mark.parametrize("churn", [0.0, 1.0])
@pytest.mark.parametrize("name", STEEP)
def test_steps_in_which_the_log_snr_hardly_rises_have_coefficients(name, churn):
    schedule, steps = STEEP[name]
    ts = jnp.linspace(0, 1, steps + 1, dtype=jnp.float32)

    def coefficients(s, t):
        return no.ancestral_coefficients(schedule, s, t, churn)

    for values in jax.vmap(coefficients)(ts[:-1], ts[1:]):
        assert np.isfinite(values).all()
    # A step of no length, of which a schedule that learns still needs a derivative.
    slope = jax.jacobian(lambda t: jnp.stack(coefficients(scalar(0.5), t)))(scalar(0.5))
    assert np.isfinite(slope).all()


def test_a_grid_is_continuous_where_its_slope_changes():
    schedule = STEEP["grid"][0]
    ts = jnp.asarray(np.linspace(0.499, 0.501, 201), jnp.float32)
    found = np.asarray(jax.vmap(schedule.log_snr)(ts))
    assert (np.diff(found) > -1e-4).all()
    assert np.isclose(found[:90], np.interp(ts[:90], [0, 0.5], [-7, -6.9]), atol=1e-5).all()


@pytest.mark.parametrize(
    "schedule", [no.CosineSchedule(-80.0, -79.0), no.SigmoidSchedule(6.0, 39.0, 40.0)], ids=["cosine", "sigmoid"]
)
def test_narrow_ends_far_out_are_kept(schedule):
    found = [float(schedule.log_snr(scalar(t))) for t in (0, 0.5, 1)]
    np.testing.assert_allclose(found[::2], [schedule.log_snr_0, schedule.log_snr_1], rtol=1e-5)
    assert found[0] < found[1] < found[2]


def test_a_difference_of_snrs_far_apart_does_not_overflow():
    schedule = no.LinearSchedule(-80.0, 40.0)
    np.testing.assert_allclose(schedule.snr_increment(scalar(0), scalar(1)), np.exp(40.0), rtol=1e-5)
    rate = jax.grad(lambda t: schedule.snr_increment(scalar(0), t))(scalar(1))
    np.testing.assert_allclose(rate, 120 * np.exp(40.0), rtol=1e-4)


ADAPTIVE = no.ODE(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-6), max_steps=2)


def test_a_solver_that_gives_up_does_not_train(key):
    """A state half-way is a number, and a loss of it would pass for one."""
    field = no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=key)
    adjoint = no.AdjointODE(field, embedding=no.OneHot(3), sampler=ADAPTIVE)
    sampled = no.NoPropCT(field, embedding=no.OneHot(3), end_state=no.SampledEndState(ADAPTIVE))
    for model in (adjoint, sampled):
        assert np.isnan(model.batch_loss(*blobs(2), key=key).readout)


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_a_label_out_of_range_has_no_loss_in_the_baselines(label, key):
    field = no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=key)
    blocks = no.Blocks(lambda key: no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=key), 2, key=key)
    few = no.ODE(diffrax.Euler(), steps=2)
    models = [
        no.Supervised(field, embedding=no.OneHot(3)),
        no.AdjointODE(field, embedding=no.OneHot(3), sampler=few),
        no.Backprop(blocks, embedding=no.OneHot(3)),
    ]
    for model in models:
        assert np.isnan(model.loss(blobs(1)[0][0], jnp.asarray(label), key=key).total)


def test_times_and_states_stay_in_single_precision_beside_doubles(key):
    with jax.enable_x64(True):
        model = oracle_model(no.OneHot(3), no.CosineSchedule())
        x, z0 = jnp.zeros(3, jnp.float32), jnp.zeros(3, jnp.float32)
        for sampler in (no.ODE(diffrax.Heun(), steps=10), no.Ancestral(10)):
            end = sampler.sample(model, z0, x, key=key, t1=0.85)
            assert end.z.dtype == jnp.float32
            np.testing.assert_allclose(end.t, 0.85, rtol=1e-6)


@pytest.mark.parametrize("skip", [False, True])
def test_an_ensemble_hears_the_network_at_a_high_snr(skip):
    """The evidence at z = 0 is millions of nats for every class, where float32 has steps of half a nat."""
    wanted = np.log([0.5, 0.3, 0.2])

    class Says(no.AbstractVectorField):
        def encode(self, x, *, key=None):
            return jnp.asarray(x).reshape(-1)

        def __call__(self, t, z, features):
            return jnp.asarray(wanted, jnp.float32)

    schedule = no.LinearSchedule(-20.0, 20.0)
    model = no.NoPropCT(Says(), embedding=no.OneHot(3), schedule=schedule, evidence_skip=skip)
    end = no.ODE(diffrax.Euler(), steps=1).sample(
        model, jnp.zeros(3, jnp.float32), jnp.zeros(3, jnp.float32), key=jr.key(0), t1=0.0
    )
    found = no.EnsembleDecoder([0.9, 0.95])(model, end, jnp.zeros(3, jnp.float32))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_chain_of_blocks_takes_no_long_step(key):
    blocks = no.Blocks(lambda key: no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=key), 4, key=key)
    model = no.Backprop(blocks, embedding=no.OneHot(3))
    with pytest.raises(TypeError, match="the blocks of Backprop take none but their own"):
        model(blobs(1)[0][0], key=key, sampler=no.EarlyExit(no.ODE(diffrax.Euler(), steps=4)))


@pytest.mark.parametrize("k", [-1, 2])
def test_a_block_that_is_none_has_no_loss(k, key):
    blocks = no.Blocks(lambda key: no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=key), 2, key=key)
    model = no.NoPropDT(blocks, embedding=no.OneHot(3), objective=no.CrossEntropy(), plan=no.OnlyBlock(jnp.asarray(k)))
    assert np.isnan(model.batch_loss(*blobs(2), key=key).denoising)


def test_blocks_without_arrays_predict(key):
    schedule = no.CosineSchedule()
    model = no.NoPropDT(
        no.Blocks(lambda _: Oracle(schedule, no.OneHot(3)), 3, key=key), embedding=no.OneHot(3), schedule=schedule
    )
    p = np.array([0.7, 0.2, 0.1], np.float32)
    found = no.predict_log_proba(model, np.log(p).reshape(1, 1, 1, 3), key=key)
    np.testing.assert_allclose(np.exp(found), p[None], rtol=1e-4)


def test_the_loss_of_a_network_in_half_precision_is_computed_in_single(key):
    class Half(no.AbstractVectorField):
        def encode(self, x, *, key=None):
            return jnp.asarray(x).reshape(-1)[:3].astype(jnp.bfloat16)

        def __call__(self, t, z, features):
            return features / 256

    x = jnp.asarray([[[3]], [[1]], [[2]]], jnp.uint8)
    model = no.Supervised(Half(), embedding=no.OneHot(3))
    logits = np.array([3, 1, 2]) / 256
    exact = np.log(np.exp(logits).sum()) - logits[0]
    np.testing.assert_allclose(model.loss(x, jnp.asarray(0), key=key).total, exact, rtol=1e-6)


def test_an_empty_batch_is_no_puzzle(key):
    field = no.nn.ConvField((12, 12, 1), 3, 3, key=key)
    model = no.NoPropCT(field, embedding=no.OneHot(3))
    loss = model.batch_loss(jnp.zeros((0, 12, 12, 1), jnp.uint8), jnp.zeros(0, jnp.int32), key=key)
    assert np.isnan(loss.total)


def test_a_trajectory_is_that_of_the_prediction(key):
    model = no.NoPropCT(TrueClass(), embedding=no.OneHot(3))
    xs = np.eye(3, dtype=np.float32)[[0, 2, 1]].reshape(3, 1, 1, 3)
    sampler = no.Ancestral(4)
    paths = no.trajectories(model, xs, jnp.asarray([0.0, 1.0], jnp.float32), key=key, sampler=sampler)
    alone = no.trajectories(model, xs[:1], jnp.asarray([0.0, 1.0], jnp.float32), key=key, sampler=sampler)
    np.testing.assert_allclose(paths.zs[:1], alone.zs, rtol=1e-5)
    read = eqx.filter_vmap(lambda z: model.readout(z, model.embedding))(paths.zs[:, -1])
    how = {"start": "noise", "sampler": sampler, "decoder": no.ReadoutDecoder()}
    np.testing.assert_allclose(no.predict_log_proba(model, xs, key=key, **how), read, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "sampler",
    [
        no.ODE(diffrax.Heun(), steps=4),
        no.Ancestral(3),
        no.EarlyExit(no.Ancestral(3)),
        no.SDE(3),
        no.SDE(3, diffrax.SRA1()),
    ],
)
def test_a_prediction_waits_for_no_host(sampler, key):
    """With a callback it could not be exported, and a device would wait for Python in every batch."""
    model = oracle_model(no.OneHot(3), no.CosineSchedule())
    how = no.Prediction("noise", sampler, no.DenoiserDecoder())
    text = str(jax.make_jaxpr(lambda x: no.predict_one(model, x, key=key, prediction=how)[0])(jnp.zeros((1, 1, 3))))
    assert "callback" not in text


@pytest.mark.parametrize(
    "sampler", [no.ODE(diffrax.Euler(), steps=3), no.ODE(diffrax.Tsit5(), steps=3), no.Ancestral(3), no.SDE(3)]
)
def test_a_network_in_double_precision_is_sampled(sampler, key):
    """With `jax_enable_x64` the layers of Equinox are in double precision."""

    class Own(no.AbstractVectorField):
        net: eqx.nn.MLP

        def encode(self, x, *, key=None):
            return jnp.asarray(x).reshape(-1)

        def __call__(self, t, z, features):
            return self.net(jnp.concatenate([z, features]))

    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        net = eqx.nn.MLP(6, 3, 8, 1, key=key)
        assert net.layers[0].weight.dtype == jnp.float64
        model = no.NoPropCT(Own(net), embedding=no.OneHot(3))
        x = jnp.ones((1, 1, 3), jnp.float32)
        log_p = no.predict_log_proba(
            model, x[None], key=key, start="noise", sampler=sampler, decoder=no.ReadoutDecoder()
        )
        np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-5)


def test_what_is_not_a_number_is_no_prediction(key):
    class Lost(no.AbstractVectorField):
        def encode(self, x, *, key=None):
            return jnp.asarray(x).reshape(-1)

        def __call__(self, t, z, features):
            return features * jnp.nan

    model, xs = no.NoPropCT(Lost(), embedding=no.OneHot(3)), np.ones((4, 1, 1, 3), np.float32)
    for predict in (no.predict, functools.partial(predict_alike, prediction=model.default_prediction)):
        with pytest.raises(FloatingPointError, match="4 of 4 images, the first at index 0, have class probabilities"):
            predict(model, xs, key=key)
    found = no.evaluate(model, xs, np.zeros(4, np.int32), key=key)
    assert found.accuracy == 0 and np.isnan(found.nll) and np.isnan(found.calibration_error)


def test_a_large_bias_of_the_sigmoid_weight_is_the_bound(key):
    schedule, t = no.LinearSchedule(-10.0, 10.0), jnp.asarray(0.3, jnp.float32)
    bound, damped = no.ELBOWeighting(), no.SigmoidWeighting(200.0)
    np.testing.assert_allclose(damped(schedule, t), bound(schedule, t), rtol=1e-4)
