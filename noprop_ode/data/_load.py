"""Loads a data set by name, split into training, validation and test parts."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ._cache import Arrays
from ._cut import check_cut, cut_test, cut_validation
from ._dataset import Dataset, Splits
from ._errors import DatasetError, require
from ._folders import BUILT_IN, find_folder, resolve_data_dir
from ._resize import check_size, resize
from ._streamed import check_stream
from ._tfds import PreparedFolder


_TEST_FRACTION = 0.2


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    validation: int | float = 0.1,
    seed: int = 0,
    stream: bool = False,
    workers: int = 0,
) -> Splits:
    """Load an image-classification data set, without using the network.

    `"digits"` is scikit-learn's 1797 grey 8x8 images, rescaled from 0..16 to 0..255. Any other name is a TFDS data set,
    prepared in array_record format under `data_dir`; image shape, class names and splits come from that folder. The
    whole set is held in memory, and its decoded images are cached (see `NOPROP_ODE_CACHE`), so only the first load is
    slow. With `stream`, it may be larger than memory: images stay on disk and are decoded as training and evaluation
    need them, in the same order as in memory; only the labels, which the first load reads, are kept.

    The test part is the set's `test` split; without one, its `validation` split; without both (as for `"digits"`), a
    fixed 20% of each class of `train`, the same for every `seed`. The validation part is the set's own `validation`
    split if it also has a `test` split; otherwise it is split off `train` by class, depending only on `seed` and the
    labels. If there is a `validation` split, a `test` split without labels (all are -1, as in ImageNet) is ignored.

    **Arguments:**

    - `name`: `"digits"`, `"mnist"`, `"imagenet_resized/32x32"`, `"cifar10:3.0.2"`, ...
    - `data_dir`: folder of prepared data sets; `None` for `$TFDS_DATA_DIR`, or `~/tensorflow_datasets` if that is not
      set.
    - `image_size`: height and width in pixels to resize every image to; `None` keeps their size.
    - `validation`: a fraction of the training part in [0, 1), or a number of images; 0 for no validation part.
    - `seed`: chooses the training images that are split off for validation; at least 0.
    - `stream`: leave the images on disk; needs the `stream` extra.
    - `workers`: processes that decode streamed images ahead of training; 0 for a thread of this process.

    **Returns:**

    The three parts, pairwise disjoint wherever they are split here.

    **Raises:**

    `DatasetNotFoundError` if the set is not prepared in `data_dir`, `DatasetError` for an unknown name, a bad argument
    or data that is not image classification, `MissingDependencyError` if a package is missing.
    """
    check_cut("validation", validation, seed)
    check_size(image_size)
    check_stream(stream, workers)
    if name == BUILT_IN:
        if stream:
            raise DatasetError(
                f"expected a prepared data set to stream, got {name!r}, 1797 images that are built in; leave stream out"
            )
        parts = {"train": _digits(image_size)}
        class_names = tuple(str(i) for i in range(10))
    else:
        parts, class_names = _prepared(name, data_dir, image_size, validation != 0, workers if stream else None)
    made = {part: Dataset(f"{name}/{part}", *arrays, class_names) for part, arrays in parts.items()}
    train, held_out, test = made["train"], made.get("validation"), made.get("test")
    if test is None:
        train, test = cut_test(train, _TEST_FRACTION)
    if held_out is None:
        train, held_out = cut_validation(train, validation, seed)
    return Splits(train, held_out, test)


def _digits(image_size: tuple[int, int] | None) -> Arrays:
    pixels, labels = _read_digits()
    images = np.rint(pixels * (255 / 16)).astype(np.uint8)[..., None]
    if image_size is not None:
        images = np.stack([resize(image, image_size) for image in images])
    return images, labels.astype(np.int32)


def _read_digits() -> tuple[np.ndarray, np.ndarray]:
    """The digits that come with scikit-learn: pixels from 0 to 16, and labels. Importing scikit-learn would take a
    hundred times as long as reading its file, so the file is read directly if it is found."""
    spec = find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or []:
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            rows = np.loadtxt(file, dtype=np.uint8, delimiter=",")
            return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]
    bunch = require("sklearn.datasets").load_digits()
    return bunch.images, bunch.target


def _prepared(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    image_size: tuple[int, int] | None,
    want_validation: bool,
    stream_workers: int | None,
) -> tuple[dict[str, tuple[Any, Any]], tuple[str, ...]]:
    folder = PreparedFolder(name, find_folder(name, resolve_data_dir(data_dir)))
    there = folder.split_names
    if "train" not in there:
        raise DatasetError(
            f"expected a 'train' split in {folder.folder}, got {', '.join(there) or 'none'}; "
            "choose a data set that has one"
        )
    if {"test", "validation"} <= set(there) and folder.unlabelled("test"):
        there.remove("test")
    roles = {"train": "train"}
    if "test" in there:
        roles["test"] = "test"
        if "validation" in there and want_validation:
            roles["validation"] = "validation"
    elif "validation" in there:
        roles["test"] = "validation"
    if stream_workers is not None:
        streamed = {role: folder.stream(split, image_size, stream_workers) for role, split in roles.items()}
        return streamed, folder.class_names
    return {role: folder.read(split, image_size) for role, split in roles.items()}, folder.class_names
