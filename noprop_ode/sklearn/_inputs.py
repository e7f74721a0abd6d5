"""The user's input, checked as scikit-learn does."""

import math
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_array, check_X_y, validate_data

from ._rows import canonical_order


class Labelled(NamedTuple):
    """Rows as they came, their labels and positive weights, in canonical order."""

    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


_NUMBERS: dict[str, Any] = {"dtype": [np.float64, np.float32]}
_AS_THEY_ARE: dict[str, Any] = {"dtype": None, "allow_nd": True}


def rows_of(estimator: Any, X: Any) -> np.ndarray:
    """The rows to predict: a table `[n, features]`, or images `[n, height, width, channels]`.

    **Arguments:** a fitted estimator, and the user's input.

    **Returns:** the rows.

    **Raises:** `ValueError` for rows of another kind than those of the fit.
    """
    rows: Any
    if _is_table(X):
        rows = validate_data(estimator, X, reset=False, **_NUMBERS)
    else:
        rows = check_array(X, estimator=estimator, **_AS_THEY_ARE)
        _check_images(rows)
    _check_shape(estimator, rows)
    return rows


def labelled(estimator: Any, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> Labelled:
    """Rows, labels and weights to train on; rows of weight zero are left out.

    **Arguments:**

    - `estimator`: its `n_features_in_`, `feature_names_in_` and `row_shape_` are set, or compared with the input.
    - `X`, `y`, `sample_weight`: from the user.
    - `reset`: whether to set them.

    **Returns:** the training data.

    **Raises:** `ValueError` or `TypeError` as scikit-learn does.
    """
    found: Any
    if _is_table(X):
        found = validate_data(estimator, X, y, reset=reset, **_NUMBERS)
    else:
        found = check_X_y(X, y, estimator=estimator, **_AS_THEY_ARE)
        _check_images(found[0])
        if reset:
            estimator.n_features_in_ = math.prod(found[0].shape[1:])
            vars(estimator).pop("feature_names_in_", None)  # from a table fitted before
    rows, labels = found
    if reset:
        estimator.row_shape_ = rows.shape[1:]
    _check_shape(estimator, rows)
    check_classification_targets(labels)
    weights = _check_sample_weight(sample_weight, rows, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise ValueError("All sample weights are zero: there is no row to learn from.")
    if not weights.all():
        rows, labels, weights = rows[weights > 0], labels[weights > 0], weights[weights > 0]
    return Labelled(rows, labels, weights)


def numbered(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Labels as positions among the sorted classes.

    **Raises:** `ValueError` for labels that are not among the classes.
    """
    strange = np.setdiff1d(labels, classes)
    if len(strange):
        raise ValueError(f"y holds labels that are not among the classes {classes!r}: {strange[:3]!r}.")
    return np.searchsorted(classes, labels).astype(np.int32)


def ordered(data: Labelled) -> Labelled:
    """The same rows in an order that depends only on their contents."""
    order = canonical_order(data.rows, data.labels)
    return Labelled(*(values[order] for values in data))


def held_out(data: Labelled, fraction: float, seed: int, names: np.ndarray) -> tuple[Labelled, Labelled | None]:
    """Splits off a share of the rows for validation, by class.

    **Arguments:** the rows in canonical order, the share in [0, 1), a `seed`, and the labels as the user knows them.

    **Returns:** the rest, and the part split off; `None` for a share of zero.

    **Raises:** `ValueError`, by scikit-learn, if a class has too few rows to be in both.
    """
    if fraction == 0:
        return data, None
    # By the names, which its messages show.
    parts: list[Any] = train_test_split(*data, test_size=fraction, random_state=seed, stratify=names[data.labels])
    return Labelled(*parts[0::2]), Labelled(*parts[1::2])


def as_images(rows: np.ndarray) -> np.ndarray:
    """Rows of a table as images of one pixel; images unchanged."""
    return rows.reshape(len(rows), 1, 1, -1) if rows.ndim == 2 else rows


def _is_table(X: Any) -> bool:
    # Anything that is not an array with more axes: scikit-learn reports what is wrong with it.
    ndim = np.asarray(X).ndim if isinstance(X, list | tuple) else getattr(X, "ndim", 2)
    return ndim <= 2


def _check_images(rows: np.ndarray) -> None:
    if rows.ndim != 4:
        raise ValueError(
            f"Expected a table [n, features] or images [n, height, width, channels]; got shape {rows.shape}. Grey "
            "images need a last axis of 1: X[..., None]."
        )
    if rows.dtype != np.uint8 and rows.dtype.kind != "f":
        raise ValueError(f"Images are uint8 or floating point; got dtype {rows.dtype}. Cast them with X.astype(...).")


def _check_shape(estimator: Any, rows: np.ndarray) -> None:
    if rows.shape[1:] != estimator.row_shape_:
        raise ValueError(
            f"{type(estimator).__name__} was fitted on rows of shape {estimator.row_shape_}; got {rows.shape[1:]}."
        )
