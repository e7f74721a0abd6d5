"""The fixed first layer and the network that stands on it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import noprop_ode as no


SHAPE = (17, 16, 3)


def smooth_images(n=40):
    """Neighbouring pixels alike, as in photographs, and no channel like another."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(n, *SHAPE)).cumsum(1).cumsum(2) @ rng.normal(size=(3, 3))
    low, high = images.min(), images.max()
    return ((images - low) / (high - low)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_outputs_are_centred_uncorrelated_and_of_variance_one(size):
    images = smooth_images()
    layer = no.nn.whitening(images, size=size, epsilon=1e-9)
    outputs = np.asarray(jax.vmap(layer)(images), np.float64)
    components = size**2 * 3
    assert outputs.shape == (40, SHAPE[0] - size + 1, SHAPE[1] - size + 1, 2 * components)
    flat = outputs.reshape(-1, 2 * components)
    np.testing.assert_array_equal(flat[:, :components], -flat[:, components:])
    np.testing.assert_allclose(flat.mean(0), 0, atol=2e-2)
    np.testing.assert_allclose(np.cov(flat[:, :components].T), np.eye(components), atol=2e-2)


def test_a_floor_keeps_what_hardly_varies_small():
    images = smooth_images()
    images[..., 2] = images[..., 1] + np.float32(1e-4) * images[..., 2]
    strict, mild = no.nn.whitening(images, epsilon=1e-12), no.nn.whitening(images, epsilon=1e-2)
    assert np.abs(strict.weight).max() > 20 * np.abs(mild.weight).max()


def test_bytes_and_floats_give_one_layer_and_constant_images_a_finite_one():
    images = (255 * smooth_images()).astype(np.uint8)
    by_bytes, by_floats = no.nn.whitening(images), no.nn.whitening((images / 255).astype(np.float32))
    np.testing.assert_allclose(by_bytes.weight, by_floats.weight, rtol=1e-3, atol=1e-3)
    assert np.isfinite(no.nn.whitening(np.zeros((2, 8, 8, 3), np.uint8)).weight).all()


@pytest.mark.parametrize(
    "images, settings, message",
    [
        (np.zeros((4, 8, 8), np.uint8), {}, r"shape \[n, height, width, channels\]"),
        (np.zeros((4, 1, 8, 3), np.uint8), {}, "at least 2x2 pixels"),
        (np.zeros((4, 8, 8, 3), np.uint8), {"epsilon": 0.0}, "epsilon > 0"),
    ],
)
def test_bad_input_is_refused(images, settings, message):
    with pytest.raises(ValueError, match=message):
        no.nn.whitening(images, **settings)


def network(**settings):
    return no.nn.WhitenedCNN(SHAPE, no.nn.whitening(smooth_images()), widths=(8, 16), key=jr.key(0), **settings)


def test_the_network_has_a_vector_of_features_and_never_trains_its_first_layer():
    net = network()
    features = eqx.filter_jit(net)(smooth_images()[0])
    assert features.shape == (net.feature_size,) == (16,) and jnp.isfinite(features).all()
    field = no.nn.BackboneField(net, 4, 4, width=8, key=jr.key(1))
    mask = no.trainable_mask(field)
    assert not any(jax.tree.leaves(mask.backbone.whitening)) and all(jax.tree.leaves(mask.backbone.groups))
    gradient = eqx.filter_jit(eqx.filter_grad(lambda net: jnp.sum(net(smooth_images()[0]) ** 2)))(net)
    assert not any(jnp.any(g != 0) for g in jax.tree.leaves(gradient.whitening))
    assert all(jnp.any(g != 0) for g in jax.tree.leaves(gradient.groups))


def test_a_training_step_leaves_the_whitening_as_it_is():
    net = network()
    field = no.nn.BackboneField(net, 4, 4, width=8, key=jr.key(1))
    model = no.NoPropCT(field, embedding=no.OneHot(4), objective=no.CrossEntropy(), evidence_skip=True)
    state = no.TrainState.create(model, no.muon(1e-2, weight_decay=0.1), key=jr.key(2))
    batch = smooth_images()[:8], np.arange(8, dtype=np.int32) % 4
    losses = []
    for state, metrics in no.train(state, [batch] * 12):
        losses.append(float(metrics.denoising))
    assert eqx.tree_equal(state.model.field.backbone.whitening, net.whitening)
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


@pytest.mark.parametrize("shape, message", [((17, 16, 1), "3 channels"), ((4, 16, 3), "at least 5 pixels")])
def test_images_that_do_not_suit_the_network_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        no.nn.WhitenedCNN(shape, no.nn.whitening(smooth_images()), widths=(8, 16), key=jr.key(0))


def test_a_nonlinearity_keeps_both_signs_of_a_component():
    """For a convolution that came next, a component and the same negated would be one."""
    net = eqx.tree_at(lambda net: net.groups, network(), ())
    dark = jnp.zeros(SHAPE, jnp.float32)
    assert net.whitening(dark).min() < -0.5 and net(dark).min() > -0.2  # the least value of GELU


def test_channels_keep_their_share_of_an_image():
    """Normalised each by itself they would all have the same mean."""
    h = jr.normal(jr.key(0), (5, 5, 8), jnp.float32) + jnp.arange(8, dtype=jnp.float32)[None, None]
    means = network().groups[0].norms[0](h).mean(axis=(0, 1))
    assert (jnp.diff(means) > 0.1).all()
