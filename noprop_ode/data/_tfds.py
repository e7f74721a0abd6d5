"""Reads a folder prepared by TFDS in its array_record format, without TensorFlow or a network."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int32

from ._cache import Arrays, cached, fingerprint
from ._errors import DatasetError, require
from ._records import Records
from ._streamed import StreamedImages


_READ_BATCH = 1000  # one batched read is about twice as fast as the same number of single ones
# How images are decoded, in the names of cache files: change it with `_decode.pixels`, so that no file is used that was
# made another way.
_DECODING = "pixels2"
_TELL_ABOVE = 5000  # decoding more images than this takes long enough to report it


def import_tfds() -> ModuleType:
    """Import TFDS and what it needs to read images from array_record files.

    **Returns:**

    The module `tensorflow_datasets`.

    **Raises:**

    `MissingDependencyError` if a package is missing.
    """
    with warnings.catch_warnings():
        # TFDS and protobuf warn about their own deprecations on import.
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
        self._keys = self._find_keys()
        self._channels = self._find_channels()

    @property
    def split_names(self) -> list[str]:
        """Names of the splits that hold at least one example."""
        return [name for name, split in self._builder.info.splits.items() if split.num_examples]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""
        return tuple(self._builder.info.features[self._keys[1]].names)

    def unlabelled(self, split: str) -> bool:
        """Whether no image of a split has a label: all are -1, which TFDS writes if a test set keeps them secret.

        **Arguments:**

        - `split`: name of the split; none of its images is decoded.

        **Returns:**

        The answer.

        **Raises:**

        `DatasetError` if the records cannot be read.
        """
        if self._records(split, None).read_encoded(np.zeros(1, np.int64))[1][0] != -1:
            return False  # as in nearly every set: not all records need to be read
        return bool((self._cached(split, "index", lambda: self._index(split))[1] == -1).all())

    def read(self, split: str, image_size: tuple[int, int] | None) -> Arrays:
        """Read one split, from the cache if it was read before.

        **Arguments:**

        - `split`: name of the split.
        - `image_size`: height and width to resize every image to, or `None` to keep their size.

        **Returns:**

        Images `[n h w c]` and labels `[n]`.

        **Raises:**

        `DatasetError` if images differ in size, are not 8-bit or cannot be read.
        """
        size = "x".join(str(s) for s in image_size) if image_size else "native"
        return self._cached(split, f"{size}-{_DECODING}", lambda: self._decode(split, image_size))

    def stream(
        self, split: str, image_size: tuple[int, int] | None, workers: int
    ) -> tuple[StreamedImages, Int32[np.ndarray, " n"]]:
        """Leave the images of one split on disk. All records are read once for their labels, which are cached.

        **Arguments:**

        - `split`, `image_size`: as for `read`.
        - `workers`: processes that decode ahead of training.

        **Returns:**

        Images that are read when they are needed, and labels `[n]`.

        **Raises:**

        `DatasetError` if the records cannot be read.
        """
        checksums, labels = self._cached(split, "index", lambda: self._index(split))
        records = self._records(split, image_size)
        return StreamedImages(records, checksums.reshape(len(labels), -1), workers=workers), labels

    def _cached(self, split: str, kind: str, make: Callable[[], Arrays]) -> Arrays:
        parts = (self.name.split(":")[0].replace("/", "-"), self.folder.name, split, kind)
        return cached("-".join((*parts, fingerprint(self.folder))), self._builder.info.splits[split].num_examples, make)

    def _find_keys(self) -> tuple[str, str]:
        features, info = self._tfds.features, self._builder.info
        kinds = dict(info.features.items())
        images = [k for k, f in kinds.items() if isinstance(f, features.Image)]
        images = [k for k in images if not isinstance(kinds[k], features.LabeledImage)]
        labels = [k for k, f in kinds.items() if isinstance(f, features.ClassLabel)]
        supervised = info.supervised_keys
        if supervised and supervised[0] in images and supervised[1] in labels:
            return supervised[0], supervised[1]
        # Folders written by hand often lack the supervised keys; the usual names then decide.
        images = ["image"] if "image" in images else images
        labels = ["label"] if "label" in labels else labels
        if len(images) != 1 or len(labels) != 1:
            raise DatasetError(
                f"expected one image and one class label an example in {self.folder}, got "
                f"{ {k: type(f).__name__ for k, f in kinds.items()} }; choose an image-classification set"
            )
        return images[0], labels[0]

    def _find_channels(self) -> int:
        image = self._builder.info.features[self._keys[0]]
        if image.np_dtype != np.uint8:
            raise DatasetError(f"expected 8-bit images in {self.folder}, got {image.np_dtype}; choose another set")
        if image.shape[-1] not in (1, 3, 4):
            raise DatasetError(
                f"expected images of 1, 3 or 4 channels in {self.folder}, got shape {image.shape}; choose another set"
            )
        return image.shape[-1]

    def _records(self, split: str, image_size: tuple[int, int] | None) -> Records:
        try:
            source = self._source(split)
        except DatasetError:
            raise
        except Exception as error:
            raise DatasetError(
                f"cannot read split {split!r} of {self.folder}: {error}; if a file there is damaged, "
                "delete the folder and prepare it again"
            ) from error
        return Records(self.folder, split, source, self._keys, self._channels, image_size)

    def _source(self, split: str) -> Any:
        info, kinds = self._builder.info, self._tfds.features
        images = [key for key, feature in info.features.items() if isinstance(feature, kinds.Image)]
        decoders = {key: self._tfds.decode.SkipDecoding() for key in images}
        try:
            source = self._builder.as_data_source(split=split, decoders=decoders)
        except NotImplementedError as error:
            raise DatasetError(
                f"expected array_record files in {self.folder}, got format {info.file_format.value!r}; "
                "move that folder away, and prepare it again with file_format='array_record'"
            ) from error
        if missing := [f for f in info.splits[split].filepaths if not Path(f).is_file()]:
            raise DatasetError(
                f"expected the file {missing[0]}, which is missing; delete {self.folder} and prepare it again"
            )
        return source

    def _decode(self, split: str, image_size: tuple[int, int] | None) -> Arrays:
        records = self._records(split, image_size)
        self._tell(split, len(records), "decoding")
        return _in_blocks(records.read_labelled, len(records))

    def _index(self, split: str) -> Arrays:
        records = self._records(split, None)
        self._tell(split, len(records), "reading the labels of")
        return _in_blocks(records.read_encoded, len(records))

    def _tell(self, split: str, n: int, doing: str) -> None:
        if n > _TELL_ABOVE:
            print(f"noprop_ode.data: {doing} {self.name} {split}, {n} images, once", file=sys.stderr)


def _in_blocks(read: Callable[[np.ndarray], Arrays], n: int) -> Arrays:
    images, labels = None, np.empty(n, np.int32)
    for start in range(0, n, _READ_BATCH):
        part = slice(start, min(start + _READ_BATCH, n))
        block, labels[part] = read(np.arange(n)[part])
        if images is None:
            images = np.empty((n, *block.shape[1:]), np.uint8)
        images[part] = block
    assert images is not None  # split_names leaves empty splits out
    return images, labels
