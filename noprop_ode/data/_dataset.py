"""A labelled set of images."""

import functools
import math
import reprlib
from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Bool, Int, Int32, Shaped

from .._check import check_images, check_labels
from ._errors import DatasetError
from ._moments import moments
from ._random import permutation, stratified_cut
from ._streamed import StreamedImages


_SAMPLE = 2**28  # bytes of streamed images to sample before training
# Keeps the random order of a sample separate from those of epochs and splits.
_SAMPLE_STREAM = 4


# `__post_init__` checks everything that the annotations say, with messages that say what to do.
@no_type_check
@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images of one size with one class each.

    **Arguments:**

    - `name`: its name in messages, such as `"mnist/train"`.
    - `images`: one per row, `[n h w c]` or any other shape that a network takes; uint8 in 0..255, or floating point in
      [0, 1] or normalised, stored as float32; or [`noprop_ode.data.StreamedImages`][], which stay on disk.
    - `labels`: class of each image, in `[0, len(class_names))`; any integer dtype, stored as int32.
    - `class_names`: one name per class; their number is the number of classes.

    **Raises:**

    `DatasetError` if the arrays disagree with each other or with this description.
    """

    name: str
    images: Shaped[np.ndarray, "n *image"] | StreamedImages
    labels: Int32[np.ndarray, " n"]
    class_names: tuple[str, ...]

    def __post_init__(self):
        images, labels = self.images, as_array(self.labels, "labels", self.name)
        if not isinstance(images, StreamedImages):
            images = as_array(images, "images", self.name)
        names = (self.class_names,) if isinstance(self.class_names, str) else tuple(self.class_names)
        if not all(isinstance(name, str) for name in names):
            raise DatasetError(f"{self.name}: expected class_names as strings, got {reprlib.repr(names)}")
        try:
            check_images(images)
            check_labels(labels, len(names), len(images))
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{self.name}: {error}") from error
        if isinstance(images, np.ndarray) and images.dtype != np.uint8:
            images = images.astype(np.float32, copy=False)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels.astype(np.int32, copy=False))
        object.__setattr__(self, "class_names", names)

    @functools.cached_property
    def _moments(self) -> tuple[float, float]:
        return moments(self._sampled(_SAMPLE).images)

    @property
    def mean(self) -> float:
        """Mean of all pixels, with bytes scaled to [0, 1]; for streamed images, of a sample, chosen as by `sample`."""
        return self._moments[0]

    @property
    def std(self) -> float:
        """Standard deviation of the same pixels, with bytes scaled to [0, 1]; 1 if all are equal."""
        return self._moments[1] or 1.0

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        size = "x".join(str(d) for d in self.image_shape)
        where = ", on disk" if self.streamed else ""
        return f"Dataset({self.name!r}, {len(self)} images of {size}, {self.num_classes} classes{where})"

    @property
    def image_shape(self) -> Any:  # so that it can be passed on where three are asked for
        """Shape of every image: height, width and channels, or that of whatever else the rows are."""
        return self.images.shape[1:]

    @property
    def num_classes(self) -> int:
        """Number of classes, including those without images here."""
        return len(self.class_names)

    def take(self, indices: Int[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> "Dataset":
        """Select images, in the order given.

        **Arguments:**

        - `indices`: positions, or a mask over all images.

        **Returns:**

        A data set with copies of the selected images and the same name and classes; streamed images stay on disk.

        **Raises:**

        `DatasetError` if a position is out of range, the mask has another length or nothing is selected.
        """
        try:
            labels = self.labels[indices]
            images = self.images.take(indices) if isinstance(self.images, StreamedImages) else self.images[indices]
        except IndexError as error:
            raise DatasetError(
                f"{self.name}: expected indices of {len(self)} images, got {error}; "
                f"pass integers in [-{len(self)}, {len(self)}) or a mask of that length"
            ) from error
        return Dataset(self.name, images, labels, self.class_names)

    def sample(self, size: int = _SAMPLE) -> "Dataset":
        """Take as many images as fit into a given memory, for use as an array.

        **Arguments:**

        - `size`: the maximum size of streamed images in memory, in bytes.

        **Returns:**

        The data set itself if its images are in memory. Otherwise one of arrays: of all images if they fit, or else of
        as many as do, each class with its share, the same every time.
        """
        found = self._sampled(size)
        return Dataset(self.name, found.images[:], found.labels, self.class_names) if found.streamed else self

    @property
    def streamed(self) -> bool:
        """Whether the images stay on disk."""
        return isinstance(self.images, StreamedImages)

    def _sampled(self, size: int) -> "Dataset":
        count = max(1, size // max(1, math.prod(self.image_shape)))
        if not self.streamed or count >= len(self):
            return self
        order = permutation(len(self), (_SAMPLE_STREAM, len(self)))
        return self.take(stratified_cut(self.labels, count, order)[0])


def as_array(values: Any, what: str, name: str) -> np.ndarray:
    """Convert to a NumPy array.

    **Arguments:**

    - `values`: an array of any library, or nested lists.
    - `what`: its name in messages.
    - `name`: name of the data set.

    **Returns:**

    The array, not copied if it is one already.

    **Raises:**

    `DatasetError` if the rows differ in shape.
    """
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{name}: expected {what} as one array, got: {error}; give all rows one shape") from error
    if array.ndim == 0:
        raise DatasetError(f"{name}: expected {what} as an array, got {reprlib.repr(values)}")
    return array


@dataclass(frozen=True, eq=False)
class Splits:
    """Up to three disjoint parts of one data set.

    **Arguments:**

    - `train`: for learning.
    - `validation`: for making choices; `None` if there is none.
    - `test`: for reporting; `None` if there is none.

    **Raises:**

    `DatasetError` if the parts differ in image shape or classes.
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
