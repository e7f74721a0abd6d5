"""Muon: which arrays are matrices, and what an update of one looks like."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import noprop_ode as no


class Layers(no.AbstractVectorField):
    """One layer of each kind; only its parameters matter here."""

    ours: no.nn.Conv
    theirs: eqx.nn.Conv2d
    linear: eqx.nn.Linear

    def __init__(self, key):
        keys = jr.split(key, 3)
        self.ours = no.nn.Conv(4, 12, key=keys[0])
        self.theirs = eqx.nn.Conv2d(4, 12, 3, dtype=jnp.float32, key=keys[1])
        self.linear = no.nn.Linear(20, 12, key=keys[2])

    def encode(self, x, *, key=None):
        raise NotImplementedError

    def __call__(self, t, z, features):
        raise NotImplementedError


@eqx.filter_jit
def updates_of(model, **settings):
    params = eqx.filter(model, no.trainable_mask(model))
    optimiser = no.muon(1e-2, **settings)
    return optimiser.update(gradients(params), optimiser.init(params), params)[0]


def gradients(params):
    return jax.tree.map(lambda p: jr.normal(jr.key(p.size), p.shape, p.dtype), params)


@pytest.fixture(scope="module")
def model():
    return no.NoPropCT(Layers(jr.key(0)), embedding=no.LearnedEmbedding(4, 6, key=jr.key(3)))


@pytest.fixture(scope="module")
def updates(model):
    return updates_of(model)


def test_an_update_of_a_matrix_has_nearly_equal_singular_values_and_the_size_asked_for(updates):
    field = updates.field
    matrices = {
        "ours": field.ours.weight.reshape(-1, 12),
        "theirs": field.theirs.weight.reshape(12, -1),
        "linear": field.linear.weight,
    }
    for name, matrix in matrices.items():
        values = np.linalg.svd(matrix, compute_uv=False)
        assert values.max() / values.min() < 2, name
        assert np.sqrt(np.mean(np.square(matrix))) == pytest.approx(0.2 * 1e-2, rel=0.2), name


def test_biases_and_what_stands_around_the_network_are_nadams_without_decay(model):
    ours = updates_of(model, weight_decay=0.1)
    params = eqx.filter(model, no.trainable_mask(model))
    adam = optax.nadam(1e-2)
    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.jit(lambda g: adam.update(g, adam.init(params))[0])(gradients(params))
    for part in (
        lambda m: m.field.ours.bias,
        lambda m: m.field.linear.bias,
        lambda m: m.embedding,
        lambda m: m.readout,
    ):
        for a, b in zip(jax.tree.leaves(part(ours)), jax.tree.leaves(part(theirs)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4)
    assert not np.allclose(ours.field.linear.weight, theirs.field.linear.weight, rtol=1e-2)


def test_decay_is_of_the_matrices(model, updates):
    difference = jax.tree.map(jnp.subtract, updates_of(model, weight_decay=0.5), updates).field
    np.testing.assert_allclose(difference.ours.weight, -5e-3 * model.field.ours.weight, atol=1e-7)
    assert not jnp.any(difference.ours.bias)


def test_each_block_is_a_matrix_of_its_own():
    model = no.NoPropDT(no.Blocks(Layers, 3, key=jr.key(0)), embedding=no.OneHot(4))
    params = eqx.filter(model, no.trainable_mask(model))
    apart = no.blockwise(no.muon(1e-2))
    b = eqx.filter_jit(lambda p: apart.update(gradients(p), apart.init(p), p)[0])(params)
    for x, y in zip(jax.tree.leaves(updates_of(model)), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("setting", [{"momentum": 1.0}, {"weight_decay": -1.0}, {"size": 0.0}])
def test_bad_settings_are_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        no.muon(1e-3, **setting)
