"""The classifier: what two fits share, copies of it, and how it ends."""

import copy
import os
import pickle
import signal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import Count


pytest.importorskip("sklearn")

from classifiers import VARIANTS, same_predictions, table, tiny
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import noprop_ode as no


class Traced(no.AbstractSizedField):
    """A field whose traces are counted. It knows its sizes, so that only what is compiled traces it."""

    field: no.AbstractSizedField
    traces: Count = eqx.field(static=True)

    @property
    def sizes(self):
        return self.field.sizes

    def encode(self, x, *, key=None):
        self.traces()
        return self.field.encode(x, key=key)

    def __call__(self, t, z, features):
        return self.field(t, z, features)


@pytest.mark.parametrize("variant", ["ct", "dt"])
def test_a_second_fit_of_these_shapes_does_not_trace(variant):
    traces = Count()

    def network(image_shape, num_classes, label_dim, *, key):
        make = no.nn.BackboneBlock if variant == "dt" else no.nn.BackboneField
        return Traced(make(Flat(image_shape), num_classes, label_dim, width=8, key=key), traces)

    first = tiny(variant, network=network, epochs=2).fit(*table(60))
    first.predict(table(60)[0])
    first.partial_fit(*table(60))
    once = traces.n
    assert once > 0
    second = clone(first).set_params(epochs=3, random_state=1, learning_rate=1e-4, weight_decay=0.5)
    second.fit(*table(51, seed=1))  # as many classes and features
    second.predict(table(40)[0])
    second.partial_fit(*table(20))
    assert traces.n == once


class Flat(no.nn.AbstractBackbone):
    """The pixels as they are."""

    feature_size: int = eqx.field(static=True)

    def __init__(self, image_shape):
        self.feature_size = int(np.prod(image_shape))

    def __call__(self, x, *, key=None):
        return jnp.asarray(x).reshape(-1)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_copy_predicts_and_learns_alike(fitted, variant, copied):
    X, y = table()
    model, other = copied(fitted[variant]), copied(fitted[variant])
    assert same_predictions(model, fitted[variant], X)
    assert same_predictions(model.partial_fit(X, y), other.partial_fit(X, y), X)


def test_it_works_where_estimators_do():
    X, y = table()
    assert cross_val_score(make_pipeline(MinMaxScaler(), tiny()), X, y, cv=3).min() > 0.8
    search = GridSearchCV(tiny(epochs=30), {"learning_rate": [1e-6, 1e-2]}, cv=3).fit(X, y)
    assert search.best_params_ == {"learning_rate": 1e-2}
    assert search.score(X, y) > 0.9


def test_a_row_far_off_is_a_row_like_any_other(fitted):
    """All above the mean and one far above: images with such pixels would be taken for those in 0..255."""
    X, _ = table()
    row = X.max(axis=0, keepdims=True) + np.array([[1e4, 0, 0, 0, 0]])
    assert np.isfinite(fitted["ct"].predict_proba(row)).all()


def test_it_says_that_it_is_not_fitted():
    with pytest.raises(NotFittedError):
        tiny().predict(table()[0])


def test_a_fit_that_fails_leaves_the_model_of_the_last():
    X, y = table()
    model = tiny(epochs=1).fit(X, y)
    found = model.predict_proba(X)
    with pytest.raises(TypeError, match="network"):
        model.set_params(network=lambda *shape, key: "none").fit(X[:, :2], y == 0)
    with pytest.raises(ValueError, match="one class"):
        model.set_params(network=None).fit(X[:, :2], np.zeros(len(X)))
    assert model.n_features_in_ == 5
    np.testing.assert_array_equal(model.predict_proba(X), found)
    with pytest.raises(NotFittedError):
        tiny().set_params(network=lambda *shape, key: "none").predict(X)


def test_a_class_that_cannot_be_held_out_is_named():
    X, y = table()
    with pytest.raises(ValueError, match="'alone'"):
        tiny(validation_fraction=0.25).fit(X, np.where(np.arange(len(y)) == 0, "alone", "other"))


def test_a_first_part_that_is_refused_can_be_given_again():
    X, y = table()
    model = tiny()
    with pytest.raises(ValueError, match="not among the classes"):
        model.partial_fit(X, y, classes=[0, 1])
    assert model.partial_fit(X, y, classes=[0, 1, 2]).n_iter_ == 1


def test_an_image_far_off_is_an_image_like_any_other():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 10, (30, 2, 2, 1)).astype(np.uint8), np.arange(30) % 3
    model = tiny(epochs=1).fit(X, y)
    assert np.isfinite(model.predict_proba(np.full((1, 2, 2, 1), 255, np.uint8))).all()


def test_an_interrupt_is_one_of_the_keyboard():
    """A search over parameters must end with it, and not count it as a failed fit."""

    class Interrupting(no.AbstractVectorField):
        def encode(self, x, *, key=None):
            os.kill(os.getpid(), signal.SIGINT)  # while the step is traced
            return jnp.asarray(x).reshape(-1)[:3]

        def __call__(self, t, z, features):
            return z + features

    with pytest.raises(KeyboardInterrupt):
        tiny(network=lambda *shape, key: Interrupting()).fit(*table())


def test_progress_is_shown_when_asked_for(capsys):
    tiny(epochs=1).fit(*table())
    assert capsys.readouterr().err == ""
    tiny(epochs=1, verbose=1).fit(*table())
    assert "1 steps in 1 epochs" in capsys.readouterr().err
