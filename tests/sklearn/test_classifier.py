"""The classifier: what it takes and what it gives."""

import pickle

import jax
import numpy as np
import pytest


pytest.importorskip("sklearn")


from classifiers import VARIANTS, pictures, same_predictions, table, tiny

import noprop_ode as no


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_learns(fitted, variant):
    model = fitted[variant]
    assert model.score(*table(seed=1)) > 0.9
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert model.n_iter_ == len(model.loss_curve_) == 60
    p = model.predict_proba(table(seed=1)[0])
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_prediction_of_a_row_depends_on_no_other(fitted, variant):
    model, (X, _) = fitted[variant], table()
    order = np.random.default_rng(2).permutation(len(X))
    before, whole = vars(model).copy(), model.predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(X[order]), whole[order], atol=1e-9)
    np.testing.assert_allclose([model.predict_proba(x[None])[0] for x in X[:9]], whole[:9], atol=1e-7)
    assert vars(model) == before


@pytest.fixture(scope="module")
def brief():
    """A fit to compare with, where it does not matter how much was learned."""
    with jax.numpy_dtype_promotion("standard"):
        return tiny(epochs=2).fit(*table())


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
def test_labels_are_of_any_type(brief, names):
    X, y = table()
    model = tiny(epochs=2).fit(X, names[y])
    np.testing.assert_array_equal(model.classes_, names)
    assert model.predict(X).dtype == names.dtype
    np.testing.assert_array_equal(model.predict(X), names[brief.predict(X)])


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


def test_numbers_of_numpy_are_parameters(brief):
    how = {"hidden_sizes": [np.int64(16)], "epochs": np.int32(2), "learning_rate": np.float64(1e-2)}
    assert same_predictions(tiny(**how).fit(*table()), brief, table()[0])


def test_the_order_of_rows_does_not_matter(brief):
    X, y = table()
    order = np.random.default_rng(1).permutation(60)
    assert same_predictions(tiny(epochs=2).fit(X[order], y[order]), brief, X)


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
