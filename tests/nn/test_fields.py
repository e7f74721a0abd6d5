"""Networks: one dictionary of constructors through the invariants of the interface."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import scalar

import noprop_ode as no


SHAPE, CLASSES, DIM = (8, 8, 1), 4, 16
FIELDS = {
    "mlp": lambda key: no.nn.MLPField(SHAPE, CLASSES, DIM, width=16, time_size=8, key=key),
    "conv": lambda key: no.nn.ConvField(SHAPE, CLASSES, DIM, width=16, time_size=8, key=key),
    "conv-label": lambda key: no.nn.ConvField(
        SHAPE,
        CLASSES,
        DIM,
        width=16,
        time_size=8,
        label=no.nn.ConvLabelBranch((4, 4, 1), size=16, key=jr.fold_in(key, 1)),
        key=key,
    ),
}
X = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


@pytest.fixture(params=FIELDS, scope="module")
def field(request):
    return FIELDS[request.param](jr.key(0))


def z():
    return jr.normal(jr.key(1), (DIM,), jnp.float32)


def test_a_field_gives_logits(field):
    logits = field(scalar(0.3), z(), field.encode(X))
    assert logits.shape == (CLASSES,) and logits.dtype == jnp.float32
    assert jnp.isfinite(logits).all()


def test_bytes_and_floats_are_the_same_image(field):
    floats = (X / 255).astype(np.float32)
    for a, b in zip(jax.tree.leaves(field.encode(X)), jax.tree.leaves(field.encode(floats)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_field_depends_on_time_state_and_image(field):
    t, features = scalar(0.3), field.encode(X)
    logits = field(t, z(), features)
    for other in (field(scalar(0.4), z(), features), field(t, -z(), features), field(t, z(), field.encode(255 - X))):
        assert not np.allclose(logits, other, atol=1e-6)


def test_every_parameter_has_a_finite_gradient_and_one_dtype(field):
    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(field):
        return jnp.sum(field(scalar(0.3), z(), field.encode(X, key=jr.key(2))) ** 2)

    for leaf in jax.tree.leaves(gradient(field)):
        assert leaf.dtype == jnp.float32 and not leaf.weak_type
        assert jnp.isfinite(leaf).all() and jnp.any(leaf != 0)


@pytest.mark.parametrize("shape", [(8, 8, 3), (9, 8, 1), (1, 8, 8, 1)])
def test_another_image_shape_is_refused(field, shape):
    with pytest.raises(ValueError, match=r"Expected one image of shape \(8, 8, 1\)"):
        field.encode(np.zeros(shape, np.uint8))


def test_another_dtype_is_refused(field):
    with pytest.raises(TypeError, match="got dtype int32"):
        field.encode(X.astype(np.int32))


def test_dropout_happens_in_training_only():
    field = no.nn.ConvField(SHAPE, CLASSES, DIM, width=16, dropout=0.5, key=jr.key(0))
    np.testing.assert_array_equal(field.encode(X), field.encode(X))
    assert not np.allclose(field.encode(X), field.encode(X, key=jr.key(1)))
    none = no.nn.ConvField(SHAPE, CLASSES, DIM, width=16, dropout=0.0, key=jr.key(0))
    np.testing.assert_array_equal(none.encode(X), none.encode(X, key=jr.key(1)))


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_dropout_keeps_the_mean_and_drops_its_share(key, rate):
    from noprop_ode.nn._layers import dropout

    dropped = np.asarray(dropout(jnp.ones(100_000, jnp.float32), rate, key))
    assert np.mean(dropped == 0) == pytest.approx(rate, abs=0.01)
    assert dropped.mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("size", [(6, 4), (7, 5)])
def test_pooling_is_the_maximum_of_each_square(size):
    from noprop_ode.nn._layers import max_pool

    x = np.random.default_rng(0).normal(size=(*size, 2)).astype(np.float32)
    pooled = np.asarray(max_pool(jnp.asarray(x)))
    assert pooled.shape == (3, 2, 2)
    for i, j in np.ndindex(3, 2):
        np.testing.assert_array_equal(pooled[i, j], x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max(axis=(0, 1)))


def test_times_apart_have_features_apart():
    features = jax.vmap(lambda t: no.nn.time_embedding(t, 16))(jnp.linspace(0, 1, 101, dtype=jnp.float32))
    gaps = jnp.sum((features[:, None] - features[None]) ** 2, axis=-1) + 10 * jnp.eye(101)
    assert features.shape == (101, 16) and float(gaps.min()) > 1e-4
    np.testing.assert_allclose(jnp.sum(features**2, axis=1), 8, rtol=1e-4)


@pytest.mark.parametrize(
    "how, message",
    [
        ({"image_shape": (3, 8, 1)}, "at least 4x4 pixels"),
        ({"dropout": 1.0}, "dropout rate must lie"),
        ({"std": 0.0}, "standard deviation of the pixels"),
    ],
)
def test_bad_parameters_are_refused(key, how, message):
    with pytest.raises(ValueError, match=message):
        no.nn.ConvEncoder(**({"image_shape": SHAPE} | how), key=key)


@pytest.mark.parametrize("name", FIELDS)
def test_low_precision_is_close_and_stays_inside(name):
    field = FIELDS[name](jr.key(0))
    low = no.nn.LowPrecision(field)
    assert all(a.dtype == jnp.bfloat16 for a in jax.tree.leaves(low.encode(X)))
    full, rounded = (f(scalar(0.3), z(), f.encode(X)) for f in (field, low))
    assert rounded.dtype == jnp.float32
    np.testing.assert_allclose(rounded, full, atol=0.05 * float(jnp.abs(full).max()))
    assert not np.array_equal(rounded, full)
    gradient = eqx.filter_jit(eqx.filter_grad(lambda f: jnp.sum(f(scalar(0.3), z(), f.encode(X)) ** 2)))(low)
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(gradient))


def test_low_precision_needs_a_floating_point_type():
    with pytest.raises(TypeError, match="floating-point"):
        no.nn.LowPrecision(FIELDS["mlp"](jr.key(0)), dtype=jnp.int8)


def test_the_head_of_the_paper_joins_image_label_and_time(key):
    head = no.nn.ContinuousHead(5, CLASSES, DIM, width=8, time_size=6, key=key)
    t, z, features = scalar(0.3), jr.normal(key, (DIM,), jnp.float32), jr.normal(key, (5,), jnp.float32)
    frequencies = np.geomspace(1.0, 32.0, 3)
    time = np.concatenate([np.sin(0.3 * frequencies), np.cos(0.3 * frequencies)])
    label, time = (
        np.maximum(layer(jnp.asarray(x, jnp.float32)), 0) for layer, x in ((head.label, z), (head.time, time))
    )
    h = jnp.concatenate([features, label, time])
    for layer in head.layers[:2]:
        h = jax.nn.relu(layer(h))
    np.testing.assert_allclose(head(t, z, features), head.layers[2](h), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", [no.nn.ContinuousHead, no.nn.BlockHead])
def test_the_features_of_an_image_are_multiplied_once_for_all_of_its_states(head):
    net = head(100, CLASSES, DIM, width=8, key=jr.key(0))
    states = eqx.filter_vmap(net, in_axes=(None, 0, None))
    program = str(eqx.filter_make_jaxpr(states)(scalar(0.3), jnp.zeros((16, DIM), jnp.float32), jnp.zeros(100))[0])
    assert max(map(int, re.findall(r"f32\[16,(\d+)\]", program))) < 100
