"""A labelled set of images in memory."""

import functools
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Int, Int32, Shaped

from ._errors import DatasetError


_GREATEST = 64.0  # no normalised image has greater pixels, and one in 0..255 has


# `__post_init__` checks everything that the annotations say, and answers with what to do about it.
@no_type_check
@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images of one size with one class each.

    **Arguments:**

    - `name`: what to call it in messages, such as `"mnist/train"`.
    - `images`: one a row, `[n h w c]` or any other shape that a network takes; uint8 in 0..255, or floating point in
      [0, 1] or normalised.
    - `labels`: class of each image, in `[0, len(class_names))`; any integer dtype, kept as int32.
    - `class_names`: one name a class; their number is the number of classes.

    **Raises:**

    `DatasetError` where the arrays disagree with each other or with this description.
    """

    name: str
    images: Shaped[np.ndarray, "n *image"]
    labels: Int32[np.ndarray, " n"]
    class_names: tuple[str, ...]

    def __post_init__(self):
        images, labels, classes = self.images, self.labels, len(self.class_names)
        is_float = np.issubdtype(images.dtype, np.floating)
        if not (images.dtype == np.uint8 or is_float) or images.ndim < 2:
            raise DatasetError(
                f"{self.name}: expected images uint8 [n h w c], or floating point in [0, 1], got {images.dtype} "
                f"{list(images.shape)}; scale to 0..255 and cast with .astype('uint8'), and give grey images a last "
                "axis of 1"
            )
        if is_float and images.size and not np.abs(images).max() <= _GREATEST:
            raise DatasetError(
                f"{self.name}: expected floating-point images in [0, 1] or normalised, got pixels up to "
                f"{np.abs(images).max():g}; divide by 255, or cast with .astype('uint8'), and remove NaN and infinity"
            )
        if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
            raise DatasetError(
                f"{self.name}: expected integer labels [n], got {labels.dtype} {list(labels.shape)}; number the "
                "classes 0, 1, ..., as noprop_ode.data.from_arrays does with labels of any kind"
            )
        if len(images) != len(labels):
            raise DatasetError(
                f"{self.name}: expected one label an image, got {len(images)} images and {len(labels)} "
                "labels; pass arrays of equal length in the same order"
            )
        if len(images) == 0:
            raise DatasetError(f"{self.name}: expected at least one image, got none; pass None for no set")
        if labels.min() < 0 or labels.max() >= classes:
            raise DatasetError(
                f"{self.name}: expected labels in [0, {classes}), got {labels.min()}..{labels.max()}; "
                "name every class in class_names and leave unlabelled images out"
            )
        object.__setattr__(self, "labels", labels.astype(np.int32, copy=False))

    @functools.cached_property
    def _moments(self) -> tuple[float, float]:
        if self.images.dtype != np.uint8:
            return float(np.mean(self.images, dtype=np.float64)), float(np.std(self.images, dtype=np.float64))
        # Exact and fast by a histogram: float64 sums over the 256 values of a byte.
        counts = np.bincount(self.images.reshape(-1), minlength=256) / self.images.size
        values = np.arange(256) / 255
        mean = float(counts @ values)
        return mean, float(np.sqrt(counts @ (values - mean) ** 2))

    @property
    def mean(self) -> float:
        """Mean of all pixels, bytes on the [0, 1] scale."""
        return self._moments[0]

    @property
    def std(self) -> float:
        """Standard deviation of all pixels, bytes on the [0, 1] scale; 1 where all are the same."""
        return self._moments[1] or 1.0

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        size = "x".join(str(d) for d in self.image_shape)
        return f"Dataset({self.name!r}, {len(self)} images of {size}, {self.num_classes} classes)"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of every image: height, width and channels."""
        return self.images.shape[1:]

    @property
    def num_classes(self) -> int:
        """Number of classes, including those that no image here belongs to."""
        return len(self.class_names)

    def take(self, indices: Int[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> "Dataset":
        """Select images, in the order given.

        **Arguments:**

        - `indices`: positions, or a mask over all images.

        **Returns:**

        A data set with copies of the selected images and the same name and classes.

        **Raises:**

        `DatasetError` where a position is out of range, the mask has another length or nothing is
        selected.
        """
        try:
            images, labels = self.images[indices], self.labels[indices]
        except IndexError as error:
            raise DatasetError(
                f"{self.name}: expected indices of {len(self)} images, got {error}; "
                f"pass integers in [-{len(self)}, {len(self)}) or a mask of that length"
            ) from error
        return Dataset(self.name, images, labels, self.class_names)


@dataclass(frozen=True, eq=False)
class Splits:
    """Three disjoint parts of one data set.

    **Arguments:**

    - `train`: what to learn from.
    - `validation`: what to choose by; `None` where none was asked for.
    - `test`: what to report on; `None` where there is none.

    **Raises:**

    `DatasetError` where the parts differ in image shape or classes.
    """

    train: Dataset
    validation: Dataset | None = None
    test: Dataset | None = None

    def __post_init__(self):
        for part in (self.validation, self.test):
            if part is None:
                continue
            expected = (self.train.image_shape, self.train.class_names)
            if (part.image_shape, part.class_names) != expected:
                raise DatasetError(
                    f"{part.name}: expected images of {self.train.image_shape} in the classes of "
                    f"{self.train.name}, got {part.image_shape} in {part.num_classes} classes; "
                    "take all parts from one data set, with image_size=(h, w) where sizes vary"
                )
