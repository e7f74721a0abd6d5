"""Fields whose answer is known, and the few constructors that the tests share."""

import functools

import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from hypothesis import Phase, settings

import noprop_ode as no


# The first example compiles, so no deadline; few examples and no shrinking, because each is an identity on a grid.
modest = settings(deadline=None, max_examples=30, derandomize=True, phases=(Phase.explicit, Phase.generate))

SCHEDULES = {
    "linear": lambda *ends: no.LinearSchedule(*ends),
    "cosine": lambda *ends: no.CosineSchedule(*ends),
    "sigmoid": lambda *ends: no.SigmoidSchedule(6.0, *ends),
    "steep sigmoid": lambda *ends: no.SigmoidSchedule(30.0, *ends),
    "learned": lambda *ends: no.LearnedSchedule(*ends, key=jr.key(1)),
}


def scalar(value) -> jax.Array:
    return jnp.asarray(value, dtype=jnp.float32)


class TrueClass(no.AbstractVectorField):
    """The perfect denoiser: images of shape `[1, 1, classes]` hold the one-hot label, and it says just that."""

    def encode(self, x, *, key=None):
        return jnp.asarray(x).reshape(-1)

    def __call__(self, t, z, features):
        return 1e4 * features  # far enough apart for a softmax of exactly 0 and 1


class Oracle(no.AbstractVectorField):
    """The exact field: images of shape `[1, 1, classes]` hold log p(y | x), to which the evidence of z is added."""

    schedule: no.AbstractNoiseSchedule
    embedding: no.AbstractLabelEmbedding

    def encode(self, x, *, key=None):
        return jnp.asarray(x).reshape(-1)

    def __call__(self, t, z, features):
        return features + no.evidence(z, t, self.schedule, self.embedding)


class Simplex(no.AbstractLabelEmbedding):
    """Three classes in two dimensions, of different norms: embeddings that are neither square nor one-hot."""

    @property
    def num_classes(self):
        return 3

    @property
    def dim(self):
        return 2

    @property
    def rows(self):
        return jnp.array([[1.0, 0.2], [-0.5, 0.8], [-0.3, -1.4]], dtype=jnp.float32)

    def __call__(self, y):
        return self.rows[y]

    def mix(self, weights):
        return weights @ self.rows

    def similarity(self, z):
        return self.rows @ z

    def squared_norms(self):
        return jnp.sum(self.rows**2, axis=1)


class Count:
    """How often something happened; hashable by identity, so that it can be a static field."""

    def __init__(self):
        self.n = 0

    def __call__(self, *args):
        self.n += 1

    def passing(self, value):
        self.n += 1
        return value


class Watched(no.AbstractVectorField):
    """Another field, with everything it does counted: traces of the image branch, and evaluations of both branches."""

    field: no.AbstractVectorField
    traces: Count = eqx.field(static=True, default_factory=Count)
    encodes: Count = eqx.field(static=True, default_factory=Count)
    calls: Count = eqx.field(static=True, default_factory=Count)

    def encode(self, x, *, key=None):
        self.traces()
        jax.debug.callback(self.encodes, x)  # with its operand, so that mapping over examples maps the count
        return self.field.encode(x, key=key)

    def __call__(self, t, z, features):
        # A value that the result depends on: Diffrax's choice of the first step drops debug callbacks.
        seen = jax.pure_callback(self.calls.passing, z, jax.lax.stop_gradient(z), vmap_method="sequential")
        return self.field(t, z + 0 * seen, features)


def one_hot_image(y: int, num_classes: int) -> jax.Array:
    return jnn.one_hot(y, num_classes, dtype=jnp.float32).reshape(1, 1, -1)


def perfect_model(embedding=None, schedule=None) -> no.NoPropCT:
    embedding = Simplex() if embedding is None else embedding
    return no.NoPropCT(TrueClass(), embedding=embedding, schedule=schedule)


def oracle_model(embedding=None, schedule=None) -> no.NoPropCT:
    embedding = Simplex() if embedding is None else embedding
    schedule = no.CosineSchedule() if schedule is None else schedule
    return no.NoPropCT(Oracle(schedule, embedding), embedding=embedding, schedule=schedule)


def mlp_model(*, num_classes=3, image_shape=(2, 2, 1), watch=False, **how) -> no.NoPropCT:
    field = _mlp_field(num_classes, image_shape)
    field = Watched(field) if watch else field
    return no.NoPropCT(field, embedding=no.OneHot(num_classes), **how)


@functools.cache
def _mlp_field(num_classes, image_shape):
    return no.nn.MLPField(image_shape, num_classes, num_classes, width=16, time_size=8, key=jr.key(7))


def blobs(n=60, *, num_classes=3, image_shape=(2, 2, 1), seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Images that a small network tells apart: a bright pixel for each class, with noise."""
    rng = np.random.default_rng(seed)
    ys = (np.arange(n) % num_classes).astype(np.int32)
    xs = rng.uniform(0, 0.3, (n, *image_shape)).astype(np.float32)
    xs.reshape(n, -1)[np.arange(n), ys] += 0.7
    return xs, ys


@functools.cache
def adam(rate=1e-2, *, weight_decay=0.0) -> optax.GradientTransformation:
    """AdamW, with the library strict about dtypes but optax, whose bias correction mixes them, not.

    One object for a rate: a step is compiled for each optimiser.
    """
    inner = optax.adamw(rate, weight_decay=weight_decay)

    def update(updates, state, params=None):
        with jax.numpy_dtype_promotion("standard"):
            return inner.update(updates, state, params)

    return optax.GradientTransformation(inner.init, update)


@eqx.filter_jit
def carry(model, sampler, x, z0s, *, key, t1=1.0) -> jax.Array:
    """The ends of the trajectories of one image from many starts, each with its own noise; shape `[n, dim]`."""
    features = model.field.encode(x)

    def one(z0, key):
        return sampler.sample(model, z0, features, key=key, t1=t1).z

    return jax.vmap(one)(z0s, jr.split(key, len(z0s)))


def assert_standard_normal(e) -> None:
    """Mean and covariance of `[n, d]` within five standard errors of those of independent standard normals."""
    e = np.asarray(e, np.float64)
    n, d = e.shape
    assert np.abs(e.mean(axis=0)).max() < 5 / n**0.5
    assert np.abs(np.cov(e.T) - np.eye(d)).max() < 5 * (2 / n) ** 0.5
