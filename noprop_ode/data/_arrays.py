"""A data set from the user's own arrays."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._hints import did_you_mean
from ._cut import check_cut, cut_test, cut_validation
from ._dataset import Dataset, Splits, as_array
from ._errors import DatasetError


def from_arrays(
    images: Any,
    labels: Any,
    *,
    test: tuple[Any, Any] | int | float | None = None,
    validation: tuple[Any, Any] | int | float = 0.1,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    name: str = "arrays",
) -> Splits:
    """Make a data set from arrays in memory.

    **Arguments:**

    - `images`: one per row, `[n h w c]` or any other shape that a network takes; uint8 in 0..255, or floating point in
      [0, 1] or normalised.
    - `labels`: one per image: integers, strings or anything else that can be sorted. Non-negative integers are the
      classes themselves; otherwise, the classes are the sorted distinct values. Strings and UTF-8 bytes are matched by
      name if `class_names` contain them.
    - `test`: images and labels of a test part, or a fraction or number of images to split off for it, the same for
      every seed; `None` for no test part.
    - `validation`: images and labels of a validation part, or a fraction in [0, 1) of the images that `test` leaves, or
      a number of them, split off by class; 0 for none.
    - `class_names`: one name per class, in class order.
    - `seed`: chooses the images that are split off for validation; at least 0.
    - `name`: the name of the set in messages.

    **Returns:**

    The parts; `validation` and `test` are `None` if there is none.

    **Raises:**

    `DatasetError` for arrays that do not match, labels of which only some are among the `class_names`, or labels of the
    other parts that are not among the classes.
    """
    check_cut("validation", 0 if isinstance(validation, tuple) else validation, seed)
    labels = _flat(labels, name)
    values, names = _classes(labels, class_names, name)
    train = Dataset(f"{name}/train", as_array(images, "images", name), _numbered(labels, values, name), names)

    def own(part: str, given: tuple[Any, Any]) -> Dataset:
        numbers = _numbered(_flat(given[1], name), values, name)
        return Dataset(f"{name}/{part}", as_array(given[0], "images", name), numbers, names)

    held_out = None
    if isinstance(test, tuple):
        held_out = own("test", test)
    elif test is not None and test != 0:
        train, held_out = cut_test(train, test)
    if isinstance(validation, tuple):
        return Splits(train, own("validation", validation), held_out)
    rest, part = cut_validation(train, validation, seed)
    return Splits(rest, part, held_out)


def _flat(labels: Any, name: str) -> np.ndarray:
    array = as_array(labels, "labels", name)
    if array.ndim == 1 and len(array) == 0:
        raise DatasetError(f"{name}: expected at least one image and its label, got none")
    if array.ndim != 1:
        raise DatasetError(
            f"{name}: expected one label an image, [n], got labels of shape {list(array.shape)}; take "
            "labels.argmax(axis=1) of one-hot labels, and labels.reshape(-1) of a column of classes"
        )
    missing = False
    if array.dtype.kind in "fc":
        missing = not np.isfinite(array).all()
    elif array.dtype.kind in "mM":
        missing = np.isnat(array).any()
    elif array.dtype.kind == "O":
        missing = any(_is_missing(value) for value in array.tolist())
    if missing:
        raise DatasetError(f"{name}: expected a label for every image, got NaN, NaT, None or infinity; leave those out")
    if array.dtype.kind in "SO":  # bytes are text, in any part; invalid UTF-8 stays distinct from all valid text
        texts = [v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else v for v in array.tolist()]
        array = np.array(texts) if array.dtype.kind == "S" else np.fromiter(texts, object, len(texts))
    return array


def _is_missing(label: Any) -> bool:
    if label is None or type(label).__name__ in ("NAType", "NaTType"):  # those of pandas have no truth value
        return True
    if isinstance(label, np.datetime64 | np.timedelta64):
        return bool(np.isnat(label))
    return isinstance(label, float | np.floating) and not np.isfinite(label)


def _classes(labels: np.ndarray, class_names: Sequence[str] | None, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The label value of each class, and the name of each class."""
    if isinstance(class_names, str):
        raise DatasetError(f"{name}: expected class_names as a list of strings, got the string {class_names!r}")
    names = None if class_names is None else tuple(class_names)
    if labels.dtype.kind in "iu" and labels.min() >= 0:
        greatest = int(labels.max())
        if names is None and greatest >= max(2 * len(labels), 1000):
            raise DatasetError(
                f"{name}: expected labels 0, 1, ... in order, got one of {greatest} for {len(labels)} images; "
                "number the classes, as np.unique(labels, return_inverse=True)[1] does"
            )
        count = greatest + 1 if names is None else len(names)
        if names is None and (empty := np.setdiff1d(np.arange(count), labels)).size:
            warnings.warn(
                f"{name}: whole numbers are the classes themselves, counted from 0, so there are {count}, of which "
                f"{', '.join(map(str, empty[:3]))}{' and others' if len(empty) > 3 else ''} have no image. "
                "np.unique(labels, return_inverse=True)[1] numbers those that are there; with class_names=[...] this "
                "is not said.",
                stacklevel=3,
            )
        values: np.ndarray = np.arange(count)
        return values, names or tuple(str(v) for v in values)
    if names is not None and all(isinstance(label, str) for label in labels.tolist()):
        distinct = set(labels.tolist())
        strange = sorted(distinct - set(names))
        if not strange:
            return np.array(names, dtype=labels.dtype if labels.dtype.kind == "O" else None), names
        if len(strange) < len(distinct):
            # Sorted values in place of the names would give some classes the names of others.
            hint = did_you_mean(strange[0], map(str, names), otherwise="")
            raise DatasetError(
                f"{name}: expected all labels among the class_names, as some are, got {strange[:3]} too; "
                f"correct or add those. {hint}".rstrip()
            )
    try:
        values = np.unique(labels)
    except TypeError as error:
        raise DatasetError(f"{name}: expected labels that can be sorted, got: {error}; use one type") from error
    if names is None:
        names = tuple(str(v).encode("utf-8", "surrogateescape").decode("utf-8", "replace") for v in values.tolist())
    if len(names) != len(values):
        raise DatasetError(f"{name}: expected {len(values)} class_names, one a class, got {len(names)}")
    return values, names


def _numbered(labels: np.ndarray, values: np.ndarray, name: str) -> np.ndarray:
    """Labels as positions among the label values of the classes."""
    position = {value: i for i, value in enumerate(values.tolist())}
    if len(position) < len(values):
        raise DatasetError(f"{name}: expected different class_names for labels that are names, got some twice")
    try:
        distinct, inverse = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise DatasetError(f"{name}: expected labels that can be sorted, got: {error}; use one type") from error
    if strange := [value for value in distinct.tolist() if value not in position]:
        raise DatasetError(f"{name}: expected labels among {len(values)} classes, got {strange[:3]} too")
    numbers = np.array([position[value] for value in distinct.tolist()], np.int32)
    return numbers[inverse]
