"""A fitted classifier as a safetensors file."""

import os
from typing import Any

import equinox as eqx
import numpy as np

from .._check import is_extended
from .._training.checkpoint import load_arrays, read_header, save_arrays
from .._training.errors import CheckpointError
from ._build import Recipe
from ._moments import Moments
from ._parameters import recipe_of
from ._training import untrained


_OBJECTS = ("network", "prediction")  # parameters that must be passed again
_FITTED = ("n_features_in_", "n_iter_", "seed_", "loss_curve_", "validation_scores_")


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Writes a fitted classifier to a file.

    **Arguments:** the classifier, and where to write.

    **Raises:** `TypeError` for labels or parameters that are not plain values, `ValueError` for parameters that were
    set since and with which nothing could be fitted.
    """
    # The structure that the weights were made with, even if set_params has been called since.
    parameters = {**estimator.get_params(deep=False), **_structure(estimator._recipe)}
    recipe_of(parameters)  # as loading will
    given = [name for name in _OBJECTS if parameters[name] is not None]
    names = getattr(estimator, "feature_names_in_", None)
    moments = estimator._moments
    metadata = {
        "classifier": type(estimator).__name__,
        "parameters": {name: _plain(name, value) for name, value in parameters.items() if name not in _OBJECTS},
        "given": given,
        "classes": _plain_classes(estimator.classes_),
        "row_shape": list(estimator.row_shape_),
        "feature_names": None if names is None else [str(name) for name in names],
        "moments": {"weight": moments.weight, "mean": moments.mean.tolist(), "variance": moments.variance.tolist()},
        **{name: getattr(estimator, name) for name in _FITTED},
    }
    save_arrays(path, {"model": estimator.model_, "training": estimator._kept}, metadata)


def load(cls: type, path: str | os.PathLike[str], objects: dict[str, Any]) -> Any:
    """Reads a classifier from a file.

    **Arguments:** the class, the file, and the parameters that are objects.

    **Returns:** the fitted classifier.

    **Raises:** `FileNotFoundError`, or `CheckpointError` for a file without a classifier.
    """
    header = read_header(path)
    if header.get("classifier") != cls.__name__:
        raise CheckpointError(f"{path} holds no {cls.__name__}: noprop_ode.load_arrays reads other files of arrays.")
    try:
        return _restored(cls, path, header, objects)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"{path} holds a classifier that cannot be read: {error!r}.") from error


def _check_objects(path: str | os.PathLike[str], given: list[str], objects: dict[str, Any]) -> None:
    for name in _OBJECTS:
        if (name in given) != (objects[name] is not None):
            what = "with" if name in given else "without"
            raise CheckpointError(
                f"{path} holds a classifier {what} a {name} of its own, which is no part of the file; load it {what} "
                f"{name}=."
            )


def _restored(cls: type, path: str | os.PathLike[str], header: dict[str, Any], objects: dict[str, Any]) -> Any:
    _check_objects(path, header["given"], objects)
    parameters = header["parameters"]
    estimator = cls(**{**parameters, "hidden_sizes": tuple(parameters["hidden_sizes"])}, **objects)
    recipe = estimator._recipe = recipe_of(estimator.get_params(deep=False))
    for name in _FITTED:
        setattr(estimator, name, header[name])
    estimator.classes_ = _classes(header["classes"])
    estimator.row_shape_ = tuple(header["row_shape"])
    if header["feature_names"] is not None:
        estimator.feature_names_in_ = np.array(header["feature_names"], dtype=object)
    estimator._moments = _moments(header["moments"], estimator.row_shape_[-1])
    shape = estimator.row_shape_ if len(estimator.row_shape_) == 3 else (1, 1, *estimator.row_shape_)
    # No array is created before the file is known to hold those that the model needs.
    kept = eqx.filter_eval_shape(untrained, recipe, shape, len(estimator.classes_), estimator.seed_)
    arrays = load_arrays(path, {"model": kept.average, "training": kept})
    estimator.model_, estimator._kept = arrays["model"], arrays["training"]
    return estimator


def _structure(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in ("variant", "network", "hidden_sizes", "num_blocks")}


def _plain(name: str, value: Any) -> Any:
    """A parameter as a JSON value."""
    if name == "random_state" and isinstance(value, np.random.RandomState):
        return None  # the seed that was drawn from it is kept
    if isinstance(value, tuple | list | np.ndarray):
        return [_plain(name, item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    if value is not None and not isinstance(value, bool | int | float | str):
        raise TypeError(f"The parameter {name}={value!r} is no plain value, and cannot be saved.")
    return value


def _plain_classes(classes: np.ndarray) -> dict[str, Any]:
    if (classes.dtype.kind in "biufU" and not is_extended(classes.dtype)) or (
        classes.dtype.kind == "O" and all(isinstance(c, str) for c in classes)
    ):
        return {"dtype": classes.dtype.str, "values": classes.tolist()}
    raise TypeError(
        f"Labels that are numbers, truth values or strings can be saved without pickle; got labels of dtype "
        f"{classes.dtype}: {classes[:3]!r}. Give them names, y.astype(str), before the fit."
    )


def _classes(found: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(found["dtype"])
    if dtype.kind not in "biufUO":
        raise ValueError(f"labels of dtype {dtype}")
    classes = np.array(found["values"], dtype)
    if classes.ndim != 1 or len(np.unique(classes)) != len(classes) or len(classes) < 2:
        raise ValueError("labels that are not distinct")
    return classes


def _moments(found: dict[str, Any], features: int) -> Moments:
    weight, mean, variance = (np.array(found[name], np.float64) for name in ("weight", "mean", "variance"))
    if not mean.shape == variance.shape == (features,) or not np.isfinite([weight, mean.sum(), variance.sum()]).all():
        raise ValueError("moments of other features")
    return Moments(float(weight), mean, np.maximum(variance, 0))
