"""Programs of training on a CPU: convolutions on all cores, and nothing that another XLA would refuse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import noprop_ode as no
from noprop_ode._training import compiled
from noprop_ode._training.compiled import compiler_options, donating


IMAGES, WEIGHT = jr.normal(jr.key(0), (4, 8, 8, 16)), jr.normal(jr.key(1), (3, 3, 16, 32))


@pytest.fixture(autouse=True)
def asked_anew():
    compiler_options.cache_clear()
    yield
    compiler_options.cache_clear()


def convolved(images, weight):
    return weight + 0, jax.lax.conv_general_dilated(
        images, weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of convolutions on a CPU")
def test_convolutions_are_not_left_to_one_core():
    function = donating(convolved)
    assert "ynn" not in function.lower(IMAGES, WEIGHT).compile().compiled.as_text()
    weight = jnp.copy(WEIGHT)
    _, found = function(IMAGES, weight)
    assert weight.is_deleted() and not IMAGES.is_deleted()
    np.testing.assert_allclose(found, eqx.filter_jit(convolved)(IMAGES, WEIGHT)[1], rtol=1e-4, atol=1e-4)


def test_an_xla_that_does_not_know_the_option_compiles_as_it_likes(monkeypatch):
    monkeypatch.setattr(compiled, "_FLAG", "xla_cpu_that_never_was")
    assert compiler_options() is None
    assert donating(convolved)(IMAGES, jnp.copy(WEIGHT))[1].shape == (4, 8, 8, 32)


def test_what_xla_flags_say_is_left_alone(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT")
    assert compiler_options() is None


def test_a_step_is_the_same_whoever_convolves():
    field = no.nn.ConvField((8, 8, 1), 3, 3, dropout=0.0, key=jr.key(0))
    model = no.NoPropCT(field, embedding=no.OneHot(3), objective=no.CrossEntropy())
    xs, ys = jr.uniform(jr.key(1), (8, 8, 8, 1)), jnp.arange(8) % 3
    state = no.TrainState.create(model, optax.sgd(0.1), key=jr.key(2))
    expected, terms = eqx.filter_jit(no.train_step)(state, xs, ys)
    ((found, metrics),) = no.train(state, [(xs, ys)])
    np.testing.assert_allclose(metrics.loss, terms.loss, rtol=1e-5)
    arrays = (jax.tree.leaves(eqx.filter(s.model, eqx.is_inexact_array)) for s in (found, expected))
    for ours, theirs in zip(*arrays, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
