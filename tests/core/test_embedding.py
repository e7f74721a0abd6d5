"""Embeddings and readouts beyond one-hot: their algebra, their start, and what the optimiser may do to them."""

import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import Simplex, adam, blobs, mlp_model

import noprop_ode as no


EMBEDDINGS = {
    "one-hot": lambda: no.OneHot(3),
    "learned wide": lambda: no.LearnedEmbedding(3, 7, key=jr.key(0)),
    "learned narrow": lambda: no.LearnedEmbedding(3, 2, key=jr.key(0)),
    "prototype": lambda: no.PrototypeEmbedding(jr.normal(jr.key(0), (3, 2, 2, 1))),
}


@pytest.fixture(params=EMBEDDINGS, ids=str)
def embedding(request):
    return EMBEDDINGS[request.param]()


def test_every_operation_is_that_of_the_matrix_of_rows(embedding, key):
    rows = jnp.stack([embedding(jnp.asarray(y)) for y in range(3)])
    assert rows.shape == (embedding.num_classes, embedding.dim)
    p, z = jr.uniform(key, (3,), jnp.float32), jr.normal(key, (embedding.dim,), jnp.float32)
    np.testing.assert_allclose(embedding.mix(p), p @ rows, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(embedding.similarity(z), rows @ z, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(embedding.squared_norms(), jnp.sum(rows**2, axis=1), rtol=1e-6)


@pytest.mark.parametrize("y", [-1, 3, 100])
def test_an_unknown_label_is_not_a_number(embedding, y):
    assert jnp.isnan(embedding(jnp.asarray(y))).all()


def test_a_wide_learned_embedding_starts_orthonormal():
    rows = no.LearnedEmbedding(5, 20, key=jr.key(3)).matrix
    np.testing.assert_allclose(rows @ rows.T, np.eye(5), atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: no.LearnedEmbedding(1, 4, key=jr.key(0)),
        lambda: no.LearnedEmbedding(3, 0, key=jr.key(0)),
        lambda: no.PrototypeEmbedding(jnp.ones((1, 2, 2, 1))),
    ],
)
def test_too_few_classes_or_dimensions(make):
    with pytest.raises(ValueError, match="got"):
        make()


@pytest.mark.parametrize("chunk", [3, 512])
def test_prototypes_have_the_smallest_median_distance(chunk):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 3, 3, 1), dtype=np.uint8)
    labels = rng.integers(0, 3, 40)
    found = no.prototypes(images, labels, 3, chunk=chunk)
    for c in range(3):
        members = images[labels == c].astype(np.float64) / 255
        distances = np.sqrt(((members[:, None] - members[None]) ** 2).sum(axis=(2, 3, 4)))
        others = distances[~np.eye(len(members), dtype=bool)].reshape(len(members), -1)
        best = members[np.median(others, axis=1).argmin()]
        np.testing.assert_allclose(found[c], best, atol=1e-6)


def test_a_class_without_images_has_no_prototype():
    with pytest.raises(ValueError, match="Class 2 has no training image"):
        no.prototypes(np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 0, 1]), 3)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_frozen_embedding_never_changes(trainable):
    embedding = no.LearnedEmbedding(3, 4, trainable=trainable, key=jr.key(0))
    field = no.nn.MLPField((2, 2, 1), 3, 4, width=8, time_size=4, key=jr.key(1))
    model = no.NoPropCT(field, embedding=embedding)
    state = no.TrainState.create(model, adam(weight_decay=0.1), key=jr.key(2))
    for state, _ in no.train(state, [blobs(12)] * 2):
        pass
    unchanged = bool((state.model.embedding.matrix == embedding.matrix).all())
    assert unchanged is not trainable


def test_posterior_readout_follows_its_equations(key):
    embedding, z = Simplex(), jr.normal(key, (2,), jnp.float32)
    readout = no.PosteriorReadout(2, 3, scale=0.7, key=key)
    p = jnn.softmax(readout.linear.weight @ z + readout.linear.bias)
    point = sum(p[y] * embedding(jnp.asarray(y)) for y in range(3))  # eq. 15
    kernel = jnp.stack([jnp.exp(-jnp.sum((point - embedding(jnp.asarray(y))) ** 2) / (2 * 0.7**2)) for y in range(3)])
    np.testing.assert_allclose(jnp.exp(readout(z, embedding)), kernel / kernel.sum(), rtol=1e-5)  # eq. 16


def test_nearest_embedding_is_the_nearest(key):
    embedding = Simplex()
    for z in jr.normal(key, (20, 2), jnp.float32):
        distances = [float(jnp.sum((z - embedding(jnp.asarray(y))) ** 2)) for y in range(3)]
        assert int(jnp.argmax(no.NearestEmbedding()(z, embedding))) == int(np.argmin(distances))


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_readout_needs_a_positive_scale(scale):
    for make in (lambda: no.NearestEmbedding(scale), lambda: no.PosteriorReadout(2, 3, scale=scale, key=jr.key(0))):
        with pytest.raises(ValueError, match="positive"):
            make()


def test_gradients_of_every_readout_reach_a_learned_embedding(key):
    embedding = no.LearnedEmbedding(3, 4, key=key)
    for readout in (no.NearestEmbedding(), no.PosteriorReadout(4, 3, key=key)):
        grads = eqx.filter_grad(lambda e, r=readout: r(jnp.ones(4, jnp.float32), e)[0])(embedding)
        assert bool((jnp.abs(grads.matrix) > 0).any())
        assert jax.tree.structure(grads) == jax.tree.structure(eqx.filter(embedding, eqx.is_inexact_array))


def test_a_prototype_is_not_near_because_it_is_near_itself():
    images = np.array([0.0, 3.0, 3.5, 3.9, 100.0, 0.0], np.float32).reshape(-1, 1, 1, 1)
    labels = np.array([0, 0, 0, 0, 0, 1])
    # The definition, one image by one.
    values = images[:5, 0, 0, 0]
    medians = [np.median(np.abs(np.delete(values, i) - v)) for i, v in enumerate(values)]
    assert values[np.argmin(medians)] == 3.0
    np.testing.assert_array_equal(no.prototypes(images, labels, 2).reshape(-1), [3.0, 0.0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint32, np.int64])
def test_labels_of_any_integers_are_labels(dtype):
    embedding = no.OneHot(256)
    y = np.asarray(7, dtype)
    np.testing.assert_array_equal(embedding(y), embedding(np.asarray(7, np.int32)))
    xs, ys = blobs()
    model = mlp_model()
    found, expected = (
        no.evaluate(model, xs, labels, key=jr.key(0)) for labels in (ys.astype(dtype), ys.astype(np.int32))
    )
    assert found == expected
    states = []
    for labels in (ys.astype(dtype), ys.astype(np.int32)):
        state = no.TrainState.create(model, adam(), key=jr.key(0))
        states += [state for state, _ in no.train(state, [(xs, labels)])]
    for a, b in zip(*(jax.tree.leaves(eqx.filter(s.model, eqx.is_inexact_array)) for s in states), strict=True):
        np.testing.assert_array_equal(a, b)
