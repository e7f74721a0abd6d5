"""What a model answers about itself, and the one object that a way of predicting is."""

import diffrax
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import blobs, mlp_model

import noprop_ode as no


def field(key=None):
    return no.nn.MLPField((2, 2, 1), 3, 3, width=8, time_size=4, key=jr.key(0) if key is None else key)


def blocks():
    return no.Blocks(field, 2, key=jr.key(0))


MODELS = {
    "dt": lambda: no.NoPropDT(blocks(), embedding=no.OneHot(3)),
    "ct": lambda: no.NoPropCT(field(), embedding=no.OneHot(3)),
    "fm": lambda: no.NoPropFM(field(), embedding=no.OneHot(3)),
    "backprop": lambda: no.Backprop(blocks(), embedding=no.OneHot(3)),
    "adjoint": lambda: no.AdjointODE(field(), embedding=no.OneHot(3)),
}
SHARED = ["noise heun-20", "noise tsit5", "paper"]
GAUSSIAN = ["noise ddim-1", "noise ddim-10", "noise ddim-10 x16", "noise ancestral-10", *SHARED]
FLOW = ["mean euler-1", "noise euler-1", "noise euler-10", "noise euler-10 x16", *SHARED]


@pytest.mark.parametrize("name", MODELS)
def test_every_variant_names_its_protocols(name):
    model = MODELS[name]()
    assert list(model.protocols) == {"dt": ["mean ddim-1", "mean ensemble", *GAUSSIAN], "ct": GAUSSIAN, "fm": FLOW}.get(
        name, []
    )
    for title, how in model.protocols.items():
        assert (how.start, how.draws in (1, 16)) == (title.split()[0] if title != "paper" else "noise", True)
    if model.protocols:
        assert model.protocols["paper"] == model.paper_prediction


def test_a_supervised_network_has_one_way_of_one_evaluation():
    model = no.Supervised(field(), embedding=no.OneHot(3))
    assert model.protocols == {} and model.paper_prediction == model.default_prediction
    x = jnp.ones((5, 2, 2, 1), jnp.float32)
    logits = jax.vmap(lambda x: model.field(jnp.float32(0), jnp.zeros(3, jnp.float32), model.field.encode(x)))(x)
    found = no.evaluate(model, x, np.zeros(5, np.int32), key=jr.key(0))
    assert found.num_evaluations == 1
    np.testing.assert_allclose(
        no.predict_log_proba(model, x, key=jr.key(1)), jax.nn.log_softmax(logits), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_way_of_the_paper(name):
    how = MODELS[name]().paper_prediction
    steps = {"dt": 2, "ct": 1000, "fm": 1000, "backprop": 2, "adjoint": 20}[name]
    assert (how.start, how.draws, type(how.decoder), how.sampler.steps) == ("noise", 1, no.ReadoutDecoder, steps)
    assert isinstance(how.sampler, no.Ancestral if name == "dt" else no.ODE)


@pytest.mark.parametrize("num_blocks, times", [(1, [0]), (2, [0]), (5, [0, 0.2, 0.4]), (4, [0, 0.25])])
def test_dt_predicts_by_its_blocks_of_low_snr(num_blocks, times):
    model = no.NoPropDT(no.Blocks(field, num_blocks, key=jr.key(0)), embedding=no.OneHot(3))
    how = model.default_prediction
    assert (how.start, how.draws) == ("mean", 1)
    np.testing.assert_allclose(how.decoder.times, times)
    assert model.protocols["mean ensemble"] == how != model.protocols["mean ddim-1"]


def test_dt_with_other_labels_predicts_by_its_first_block():
    labels = no.LearnedEmbedding(3, 3, key=jr.key(1))
    model = no.NoPropDT(no.Blocks(field, 4, key=jr.key(0)), embedding=labels)
    assert model.default_prediction == model.protocols["mean ddim-1"]


def test_a_sampler_that_is_given_is_followed(key):
    model, x = MODELS["dt"](), jnp.ones((3, 2, 2, 1), jnp.float32)
    sampler = no.Ancestral(2, churn=0.0)
    found = no.predict_log_proba(model, x, key=key, sampler=sampler)
    expected = no.predict_log_proba(model, x, key=key, prediction=no.Prediction("mean", sampler, no.DenoiserDecoder()))
    np.testing.assert_array_equal(found, expected)
    own = no.Prediction("mean", no.Ancestral(1), no.EnsembleDecoder([0.0, 0.5]))
    with pytest.raises(ValueError, match="EnsembleDecoder asks"):
        no.predict_log_proba(model, x, key=key, prediction=own, sampler=sampler)


def test_only_the_blocks_of_dt_are_kept_apart():
    assert {name for name, make in MODELS.items() if make().independent_blocks is not None} == {"dt"}
    model = MODELS["dt"]()
    assert model.independent_blocks is model.field


HOW = no.Prediction("noise", no.Ancestral(2), no.ReadoutDecoder(), draws=2)


def test_one_object_is_its_parts(key):
    model, (xs, ys) = mlp_model(), blobs(5)
    whole = no.predict_log_proba(model, xs, key=key, prediction=HOW)
    parts = no.predict_log_proba(model, xs, key=key, **HOW._asdict())
    np.testing.assert_array_equal(whole, parts)
    np.testing.assert_array_equal(no.predict(model, xs, key=key, prediction=HOW), np.argmax(whole, axis=1))
    assert no.evaluate(model, xs, ys, key=key, prediction=HOW) == no.evaluate(model, xs, ys, key=key, **HOW._asdict())


@pytest.mark.parametrize(
    "part",
    [
        {"draws": 3},
        {"start": "mean"},
        {"sampler": no.ODE(diffrax.Euler(), steps=2)},
        {"decoder": no.DenoiserDecoder()},
    ],
    ids=lambda part: next(iter(part)),
)
def test_a_keyword_replaces_a_part(key, part):
    xs, _ = blobs(5)
    found = no.predict_log_proba(mlp_model(), xs, key=key, prediction=HOW, **part)
    expected = no.predict_log_proba(mlp_model(), xs, key=key, prediction=HOW._replace(**part))
    np.testing.assert_array_equal(found, expected)


def test_the_draws_of_a_default_count(key):
    xs, ys = blobs(3)
    assert no.evaluate(mlp_model(), xs, ys, key=key, prediction=HOW).num_evaluations == 2 * 2
