"""A labelled set of images in memory."""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8

from ._errors import DatasetError


# `__post_init__` checks everything that the annotations say, and answers with what to do about it.
@no_type_check
@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images of one size with one class each.

    **Arguments:**

    - `name`: what to call it in messages, such as `"mnist/train"`.
    - `images`: pixel values 0..255, shape `[n h w c]`.
    - `labels`: class of each image, in `[0, len(class_names))`.
    - `class_names`: one name a class; their number is the number of classes.

    **Raises:**

    `DatasetError` where the arrays disagree with each other or with this description.
    """

    name: str
    images: UInt8[np.ndarray, "n h w c"]
    labels: Int32[np.ndarray, " n"]
    class_names: tuple[str, ...]

    def __post_init__(self):
        images, labels, classes = self.images, self.labels, len(self.class_names)
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DatasetError(
                f"{self.name}: expected images uint8 [n h w c], got {images.dtype} {list(images.shape)}; "
                "rescale to 0..255, cast with .astype('uint8') and give grey images a last axis of 1"
            )
        if labels.dtype != np.int32 or labels.ndim != 1:
            raise DatasetError(
                f"{self.name}: expected labels int32 [n], got {labels.dtype} {list(labels.shape)}; "
                "cast with .astype('int32')"
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

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        size = "x".join(str(d) for d in self.image_shape)
        return f"Dataset({self.name!r}, {len(self)} images of {size}, {self.num_classes} classes)"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        h, w, c = self.images.shape[1:]
        return h, w, c

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
    - `test`: what to report on.

    **Raises:**

    `DatasetError` where the parts differ in image shape or classes.
    """

    train: Dataset
    validation: Dataset | None
    test: Dataset

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
