"""Reads a folder prepared by TFDS in its array_record format, without TensorFlow and without a network."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import UInt8

from ._cache import Arrays, cached, fingerprint
from ._errors import DatasetError, require
from ._resize import resize


_READ_BATCH = 1000  # one batched read is about twice as fast as as many single ones
_TELL_ABOVE = 5000  # images whose decoding takes long enough to say so


def import_tfds() -> ModuleType:
    """Import TFDS and what it needs to read images from array_record files.

    **Returns:**

    The module `tensorflow_datasets`.

    **Raises:**

    `MissingDependencyError` where a package is missing.
    """
    with warnings.catch_warnings():
        # TFDS and protobuf announce their own deprecations on import.
        warnings.simplefilter("ignore", DeprecationWarning)
        require("PIL.Image")
        require("array_record.python.array_record_data_source")
        return require("tensorflow_datasets")


class PreparedFolder:
    """One version of one data set on disk."""

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder
        self._tfds = import_tfds()
        try:
            self._builder = self._tfds.builder_from_directory(str(folder))
        except Exception as error:
            raise DatasetError(
                f"expected a data set prepared by TFDS 4 or later in {folder}, got: {error}; "
                "delete that folder and prepare it again"
            ) from error
        self._image_key, self._label_key = self._keys()

    @property
    def split_names(self) -> list[str]:
        """Names of the splits that hold at least one example."""
        return [name for name, split in self._builder.info.splits.items() if split.num_examples]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""
        return tuple(self._builder.info.features[self._label_key].names)

    def read(self, split: str, image_size: tuple[int, int] | None) -> Arrays:
        """Read one split, from the cache where it was read before.

        **Arguments:**

        - `split`: name of the split.
        - `image_size`: height and width to resize every image to, or `None` to leave them.

        **Returns:**

        Images `[n h w c]` and labels `[n]`.

        **Raises:**

        `DatasetError` where images differ in size, are not 8-bit or cannot be read.
        """
        size = "x".join(str(s) for s in image_size) if image_size else "native"
        parts = (self.name.split(":")[0].replace("/", "-"), self.folder.name, split, size)
        count = self._builder.info.splits[split].num_examples
        return cached("-".join((*parts, fingerprint(self.folder))), count, lambda: self._decode(split, image_size))

    def _keys(self) -> tuple[str, str]:
        features, info = self._tfds.features, self._builder.info
        kinds = dict(info.features.items())
        images = [k for k, f in kinds.items() if isinstance(f, features.Image)]
        images = [k for k in images if not isinstance(kinds[k], features.LabeledImage)]
        labels = [k for k, f in kinds.items() if isinstance(f, features.ClassLabel)]
        supervised = info.supervised_keys
        if supervised and supervised[0] in images and supervised[1] in labels:
            return supervised[0], supervised[1]
        # Folders written by hand often leave the supervised keys out; the usual names then decide.
        images = ["image"] if "image" in images else images
        labels = ["label"] if "label" in labels else labels
        if len(images) != 1 or len(labels) != 1:
            raise DatasetError(
                f"expected one image and one class label an example in {self.folder}, got "
                f"{ {k: type(f).__name__ for k, f in kinds.items()} }; choose an image-classification set"
            )
        return images[0], labels[0]

    def _source(self, split: str) -> Any:
        info = self._builder.info
        try:
            source = self._builder.as_data_source(split=split)
        except NotImplementedError as error:
            raise DatasetError(
                f"expected array_record files in {self.folder}, got format {info.file_format.value!r}; "
                "prepare it again with file_format='array_record'"
            ) from error
        if missing := [f for f in info.splits[split].filepaths if not Path(f).is_file()]:
            raise DatasetError(
                f"expected the file {missing[0]}, which is missing; delete {self.folder} and prepare it again"
            )
        return source

    def _decode(self, split: str, image_size: tuple[int, int] | None) -> Arrays:
        try:
            with _quiet():
                source = self._source(split)
                n = len(source)
                if n > _TELL_ABOVE:
                    print(f"noprop_ode.data: decoding {self.name} {split}, {n} images, once", file=sys.stderr)
                images, labels = None, np.empty(n, np.int32)
                for start in range(0, n, _READ_BATCH):
                    part = slice(start, min(start + _READ_BATCH, n))
                    examples = source.__getitems__(list(range(n)[part]))
                    block = self._stack([example[self._image_key] for example in examples], image_size)
                    if images is None:
                        images = np.empty((n, *block.shape[1:]), np.uint8)
                    self._check_shapes({images.shape[1:], block.shape[1:]})
                    images[part], labels[part] = block, [example[self._label_key] for example in examples]
        except DatasetError:
            raise
        except Exception as error:  # C++ readers, protobuf and Pillow raise what they like for damaged files
            raise DatasetError(
                f"cannot read split {split!r} of {self.folder}: {error}; if a file there is damaged, "
                "delete the folder and prepare it again"
            ) from error
        assert images is not None  # split_names leaves empty splits out
        return images, labels

    def _stack(self, images: list[np.ndarray], image_size: tuple[int, int] | None) -> UInt8[np.ndarray, "b h w c"]:
        if wrong := {str(image.dtype) for image in images} - {"uint8"}:
            raise DatasetError(f"expected 8-bit images in {self.folder}, got {wrong}; choose another set")
        if image_size is not None:
            images = [resize(image, image_size) for image in images]
        self._check_shapes({image.shape for image in images})
        return np.stack(images)

    def _check_shapes(self, shapes: set[tuple[int, ...]]) -> None:
        if len(shapes) > 1:
            two = " and ".join(str(shape) for shape in sorted(shapes)[:2])
            raise DatasetError(
                f"expected images of one size in {self.folder}, got {two}; "
                "pass image_size=(height, width) to resize them all"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # TFDS recommends OpenCV through absl's logger every time a process decodes with PIL.
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
