"""A classifier in a file: all of it comes back, and nothing else is taken for one."""

import functools
import json

import numpy as np
import pytest
from helpers import mlp_model
from test_classifier import VARIANTS, pictures, same_predictions, table, tiny


pytest.importorskip("sklearn")

from sklearn.exceptions import NotFittedError

import noprop_ode as no


load = no.sklearn.NoPropClassifier.load


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_comes_back(variant, tmp_path):
    X, y = table()
    model = tiny(variant, epochs=2).fit(X, np.array(["ant", "bee", "cat"])[y])
    model.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.get_params() == model.get_params()
    assert same_predictions(loaded, model, X)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert (loaded.loss_curve_, loaded.n_iter_, loaded.seed_) == (model.loss_curve_, model.n_iter_, model.seed_)
    labels = model.predict(X)
    assert same_predictions(loaded.partial_fit(X, labels), model.partial_fit(X, labels), X)  # it goes on as well


@pytest.mark.parametrize(
    "names",
    [np.array(["ant", "bee", "čáp"], object), np.array([-5, 0, 7], np.int8), np.array([1.0, 2.0, 3.0])],
    ids=lambda names: names.dtype.str,
)
def test_labels_come_back_with_their_type(names, tmp_path):
    X, y = table()
    tiny(epochs=1).fit(X, names[y]).save(tmp_path / "m")
    found = load(tmp_path / "m").classes_
    np.testing.assert_array_equal(found, names)
    assert found.dtype == names.dtype


@pytest.mark.parametrize("names", [np.array([b"a", b"b", b"c"]), np.array([1, "b", None], object)])
def test_other_labels_are_refused(names, tmp_path):
    model = tiny(epochs=1).fit(*table())
    model.classes_ = names  # scikit-learn would not have them
    with pytest.raises(TypeError, match="without pickle"):
        model.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_images_and_a_network_of_the_users_own(tmp_path):
    X, y = pictures()
    network = functools.partial(no.nn.MLPField, width=8)
    model = tiny(network=network, epochs=1).fit(X, y)
    model.save(tmp_path / "m")
    assert same_predictions(load(tmp_path / "m", network=network), model, X)
    with pytest.raises(no.CheckpointError, match="with a network of its own"):
        load(tmp_path / "m")
    with pytest.raises(no.CheckpointError, match="expects"):
        load(tmp_path / "m", network=functools.partial(no.nn.MLPField, width=9))
    with pytest.raises(no.CheckpointError, match="without a prediction"):
        load(tmp_path / "m", network=network, prediction=model.model_.paper_prediction)


def test_parameters_changed_since_the_fit_do_not_spoil_the_file(tmp_path):
    X, y = table()
    model = tiny(epochs=1).fit(X, y)
    model.set_params(hidden_sizes=(7, 7), variant="dt", epochs=9).save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert same_predictions(loaded, model, X)
    assert (loaded.hidden_sizes, loaded.variant, loaded.epochs) == ((16,), "ct", 9)


def test_parameters_that_fit_nothing_are_not_saved(tmp_path):
    X, y = table()
    model = tiny(epochs=1).fit(X, y).set_params(patience=3)
    with pytest.raises(ValueError, match="patience looks at validations"):
        model.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_random_state_is_left_out(tmp_path):
    X, y = table()
    model = tiny(epochs=1).set_params(random_state=np.random.RandomState(1)).fit(X, y)
    model.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.random_state is None and loaded.seed_ == model.seed_


def test_what_is_no_classifier(tmp_path):
    with pytest.raises(NotFittedError):
        tiny().save(tmp_path / "m")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "m")
    (tmp_path / "m").write_bytes(b"not a file of arrays")
    with pytest.raises(no.CheckpointError):
        load(tmp_path / "m")
    no.save_arrays(tmp_path / "m", mlp_model())
    with pytest.raises(no.CheckpointError, match="holds no NoPropClassifier"):
        load(tmp_path / "m")


@pytest.mark.parametrize(
    "where, value",
    [
        (("parameters", "hidden_sizes"), [0]),
        (("parameters", "hidden_sizes"), [10**12]),
        (("parameters", "variant"), "other"),
        (("parameters", "unknown"), 1),
        (("classes", "dtype"), "V8"),
        (("classes", "values"), [1, 1, 2]),
        (("classes", "values"), [1, 2]),
        (("moments", "mean"), "many"),
        (("moments", "mean"), [0.0]),
        (("row_shape",), [2**40]),
        (("row_shape",), [1, 2]),
        (("seed_",), "no number"),
        (("given",), None),
    ],
)
def test_a_header_that_says_something_else(where, value, tmp_path, header_and_arrays):
    header, arrays = header_and_arrays
    header = json.loads(json.dumps(header))
    inner = header
    for name in where[:-1]:
        inner = inner[name]
    inner[where[-1]] = value
    no.save_arrays(tmp_path / "m", arrays, header)
    with pytest.raises(no.CheckpointError):
        load(tmp_path / "m")


@pytest.fixture(scope="module")
def header_and_arrays(tmp_path_factory):
    import jax

    with jax.numpy_dtype_promotion("standard"):
        model = tiny(epochs=1).fit(*table())
    path = tmp_path_factory.mktemp("saved") / "m"
    model.save(path)
    return no.read_header(path), {"model": model.model_, "training": model._kept}
