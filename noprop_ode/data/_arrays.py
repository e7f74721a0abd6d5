"""A data set from arrays of the user's own."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._dataset import Dataset, Splits
from ._errors import DatasetError
from ._load import cut_validation


def from_arrays(
    images: Any,
    labels: Any,
    *,
    test: tuple[Any, Any] | None = None,
    validation: int | float = 0.1,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    name: str = "arrays",
) -> Splits:
    """Makes a data set of arrays in memory.

    **Arguments:**

    - `images`: one a row, `[n h w c]` or any other shape that a network takes; uint8 in 0..255, or floating point in
      [0, 1] or normalised.
    - `labels`: one an image: integers, strings or anything else that can be sorted. Integers from 0 on are the classes
      themselves; of others, the sorted distinct values are.
    - `test`: images and labels of a test part.
    - `validation`: a fraction of the images in [0, 1), or a number of them, cut off by class; 0 for none.
    - `class_names`: one name a class, in the order of the classes.
    - `seed`: chooses which images are cut off, at least 0.
    - `name`: what to call the set in messages.

    **Returns:**

    The parts; `validation` and `test` are `None` where there is none.

    **Raises:**

    `DatasetError` for arrays that do not go together, or labels of the test part that no training image has.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0:
        raise DatasetError(f"{name}: expected one label an image, [n], got labels of shape {list(labels.shape)}")
    if np.issubdtype(labels.dtype, np.integer) and labels.min() >= 0:
        values = np.arange(labels.max() + 1 if class_names is None else len(class_names))
    else:
        values = np.unique(labels)
    names = tuple(str(v) for v in values) if class_names is None else tuple(class_names)
    if len(names) != len(values):
        raise DatasetError(f"{name}: expected {len(values)} class_names, one a class, got {len(names)}")
    train = Dataset(f"{name}/train", images, _numbered(labels, values, name), names)
    held_out = None
    if test is not None:
        test_images, test_labels = np.asarray(test[0]), np.asarray(test[1])
        held_out = Dataset(f"{name}/test", test_images, _numbered(test_labels, values, name), names)
    rest, part = cut_validation(train, validation, seed)
    return Splits(rest, part, held_out)


def _numbered(labels: np.ndarray, values: np.ndarray, name: str) -> np.ndarray:
    """Labels as positions among the values of the classes."""
    positions = np.searchsorted(values, labels)
    known = (positions < len(values)) & (values[np.minimum(positions, len(values) - 1)] == labels)
    if not known.all():
        strange = np.unique(labels[~known])[:3].tolist()
        raise DatasetError(f"{name}: expected labels among {len(values)} classes, got {strange} too")
    return positions.astype(np.int32)
