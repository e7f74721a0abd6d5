"""The classifier: what it takes, what it gives, and what two fits share."""

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

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import noprop_ode as no


VARIANTS = ("ct", "fm", "dt")


def tiny(variant="ct", **how) -> no.sklearn.NoPropClassifier:
    settings = {"hidden_sizes": (16,), "num_blocks": 2, "epochs": 60, "batch_size": 64, "learning_rate": 1e-2}
    return no.sklearn.NoPropClassifier(variant, random_state=0, **{**settings, **how})


def table(n=60, *, seed=0):
    """Three classes of rows with five features, far apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return rng.normal(size=(n, 5)) + 4 * np.eye(5)[y], y


def pictures(n=30, size=2):
    """Grey images that are brighter the higher their class."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return (rng.integers(0, 40, (n, size, size, 1)) + 80 * y[:, None, None, None]).astype(np.uint8), y


def same_predictions(a, b, X):
    return np.array_equal(a.predict_proba(X), b.predict_proba(X))


@pytest.fixture(scope="module")
def fitted():
    import jax

    with jax.numpy_dtype_promotion("standard"):
        return {variant: tiny(variant).fit(*table()) for variant in VARIANTS}


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_learns(fitted, variant):
    model = fitted[variant]
    assert model.score(*table(seed=1)) > 0.9
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert model.n_iter_ == len(model.loss_curve_) == 60
    p = model.predict_proba(table(seed=1)[0])
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize(
    "names",
    [
        np.array(["ant", "bee", "cat"]),
        np.array(["ant", "bee", "cat"], object),
        np.array([-5, 0, 70]),
        np.array([0.0, 1.0, 2.0]),
    ],
    ids=lambda names: names.dtype.str,
)
def test_labels_are_of_any_type(fitted, names):
    X, y = table()
    model = tiny().fit(X, names[y])
    np.testing.assert_array_equal(model.classes_, names)
    assert model.predict(X).dtype == names.dtype
    np.testing.assert_array_equal(model.predict(X), names[fitted["ct"].predict(X)])


def test_labels_may_be_truth_values():
    X, y = table()
    model = tiny().fit(X, y == 0)
    assert model.predict(X).dtype == bool
    assert model.score(X, y == 0) > 0.9


def test_images_are_taken_as_bytes_and_as_floating_point():
    X, y = pictures()
    for images in (X, X / 255, (X / 255).astype(np.float16)):
        model = tiny().fit(images, y)
        assert model.score(images, y) > 0.9
        assert model.n_features_in_ == 4 and model.row_shape_ == (2, 2, 1)


def test_images_with_room_for_it_are_convolved():
    X, y = pictures(size=8)
    model = tiny(epochs=1).fit(X, y)
    assert isinstance(model.model_.field.backbone, no.nn.SimpleCNN)
    assert same_predictions(pickle.loads(pickle.dumps(model)), model, X)


@pytest.mark.parametrize(
    "X, message",
    [
        (np.zeros((60, 8, 8)), "last axis of 1"),
        (np.zeros((60, 2, 2, 1), np.int64), "uint8 or floating point"),
        (np.full((60, 2, 2, 1), np.nan), "NaN"),
        (np.tile([[1e200], [-1e200]], (30, 5)), "scale them down"),
    ],
)
def test_rows_that_are_none(X, message):
    with pytest.raises(ValueError, match=message):
        tiny().fit(X, table()[1])


def test_rows_of_another_kind_than_at_the_fit(fitted):
    with pytest.raises(ValueError, match=r"fitted on rows of shape \(5,\)"):
        fitted["ct"].predict(np.zeros((2, 1, 1, 5)))


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="one class"):
        tiny().fit(table()[0], np.zeros(60))


def test_fewer_rows_than_a_batch():
    X, y = table(9)
    assert tiny().fit(X, y).score(*table()) > 0.8


@pytest.mark.parametrize(
    "parameter, value, error",
    [
        ("variant", "sde", ValueError),
        ("network", 3, TypeError),
        ("network", lambda *shape, key: "none", TypeError),
        ("hidden_sizes", (), ValueError),
        ("hidden_sizes", 16, ValueError),
        ("hidden_sizes", (16.5,), ValueError),
        ("num_blocks", 0, ValueError),
        ("epochs", 0, ValueError),
        ("epochs", True, ValueError),
        ("batch_size", "many", ValueError),
        ("learning_rate", 0, ValueError),
        ("learning_rate", float("nan"), ValueError),
        ("weight_decay", -1, ValueError),
        ("prediction", "mean", TypeError),
        ("validation_fraction", 1, ValueError),
        ("patience", 2, ValueError),
    ],
)
def test_a_parameter_is_refused_by_name(parameter, value, error):
    with pytest.raises(error, match=parameter):
        tiny(**{parameter: value}).fit(*table())


def test_numbers_of_numpy_are_parameters(fitted):
    how = {"hidden_sizes": [np.int64(16)], "epochs": np.int32(60), "learning_rate": np.float64(1e-2)}
    assert same_predictions(tiny(**how).fit(*table()), fitted["ct"], table()[0])


def test_the_order_of_rows_does_not_matter(fitted):
    X, y = table()
    order = np.random.default_rng(1).permutation(60)
    assert same_predictions(tiny().fit(X[order], y[order]), fitted["ct"], X)


def test_weights_count_relative_to_each_other():
    X, y = table()
    weights = np.where(y == 0, 3.0, 1.0)
    model = tiny().fit(X, y, sample_weight=weights)
    assert same_predictions(tiny().fit(X, y, sample_weight=8 * weights), model, X)
    assert not same_predictions(tiny().fit(X, y), model, X)


def test_a_row_is_drawn_as_often_as_its_weight_says():
    """With rows that say nothing, the probabilities are the shares of the classes."""
    X, y = np.zeros((60, 5)), np.arange(60) % 3
    weights = np.array([1.0, 2.0, 5.0])[y]
    p = tiny(epochs=100).fit(X, y, sample_weight=weights).predict_proba(X[:1])
    np.testing.assert_allclose(p[0], [1 / 8, 2 / 8, 5 / 8], atol=0.05)


def test_seeds():
    X, y = table()

    def fit(seed):
        return tiny().set_params(random_state=seed, epochs=2).fit(X, y)

    assert same_predictions(fit(3), fit(3), X)
    assert not same_predictions(fit(3), fit(4), X)
    state = np.random.RandomState(3)
    assert same_predictions(fit(state), fit(3), X)
    assert not same_predictions(fit(state), fit(3), X)  # it has moved on
    assert fit(None).seed_ != fit(None).seed_


def test_predictions_that_draw_noise_are_repeated():
    X, y = table()
    how = no.Prediction("noise", no.Ancestral(2), no.DenoiserDecoder(), 2)
    model = tiny(epochs=2, prediction=how).fit(X, y)
    assert same_predictions(model, model, X)
    assert not np.array_equal(model.predict_proba(X), tiny(epochs=2).fit(X, y).predict_proba(X))


def test_the_best_epoch_is_kept_and_patience_ends_a_run():
    X, y = table()
    model = tiny(validation_fraction=0.25, patience=3).fit(X, y)
    best = int(np.argmax(model.validation_scores_))
    assert model.n_iter_ == len(model.validation_scores_) == best + 4 < 60
    assert not np.array_equal(*(m.field.head.time.weight for m in (model.model_, model._kept.average)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_partial_fit_goes_on(variant):
    X, y = table(240)
    model = tiny(variant)
    for part in np.split(np.random.default_rng(0).permutation(240), 12) * 5:
        model.partial_fit(X[part], y[part], classes=[0, 1, 2])
    assert model.n_iter_ == len(model.loss_curve_) == 60
    assert model.score(*table(seed=1)) > 0.9


def test_partial_fit_goes_on_after_fit():
    X, y = table()
    model = tiny(epochs=2).fit(X, y)
    step = int(model._kept.step)
    model.partial_fit(X, y)
    assert int(model._kept.step) == step + 1
    assert model.n_iter_ == 3
    before = model._kept.model.field.head.time.weight
    model.set_params(learning_rate=1e-9).partial_fit(X, y)  # the rate of now, not that of the fit
    np.testing.assert_allclose(model._kept.model.field.head.time.weight, before, atol=1e-7)


def test_partial_fit_needs_to_know_the_classes():
    X, y = table()
    with pytest.raises(ValueError, match="pass classes="):
        tiny().partial_fit(X, y)
    model = tiny().partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="not among the classes"):
        model.partial_fit(X, y + 5)
    with pytest.raises(ValueError, match="those of the first call"):
        model.partial_fit(X, y, classes=[0, 1])


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


def test_it_says_that_it_is_not_fitted():
    with pytest.raises(NotFittedError):
        tiny().predict(table()[0])


def test_a_fit_that_fails_leaves_no_model():
    X, y = table()
    model = tiny(epochs=1).fit(X, y)
    with pytest.raises(TypeError, match="network"):
        model.set_params(network=lambda *shape, key: "none").fit(X, y == 0)
    with pytest.raises(NotFittedError):
        model.predict(X)


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
