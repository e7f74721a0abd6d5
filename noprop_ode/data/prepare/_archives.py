"""The contents of the archives of MNIST and CIFAR, parsed without trusting them.

Formats: http://yann.lecun.com/exdb/mnist/ (IDX), https://www.cs.toronto.edu/~kriz/cifar.html (binary).
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from .._errors import DatasetError
from ._unpack import AGAIN, read_folder, read_tar, unzip


_IMAGES_MAGIC, _LABELS_MAGIC = 0x00000803, 0x00000801
_NAMES_BYTES = 2**16  # more than enough for the names of a hundred classes


@dataclass(frozen=True, eq=False)
class Contents:
    """The contents of the archives of one data set, in their order.

    **Arguments:**

    - `class_names`: for each label feature, the names of its classes; `"label"` is the one to predict.
    - `images`: for each split, images `[n h w c]`.
    - `labels`: for each split and label feature, classes `[n]`.
    - `has_ids`: whether each example also carries the text `SPLIT_INDEX`, as in TFDS for CIFAR.
    """

    class_names: Mapping[str, tuple[str, ...]]
    images: Mapping[str, UInt8[np.ndarray, "n h w c"]]
    labels: Mapping[str, Mapping[str, UInt8[np.ndarray, " n"]]]
    has_ids: bool


@dataclass(frozen=True)
class CifarLayout:
    """The layout of one CIFAR archive.

    **Arguments:**

    - `label_files`: for each label feature, the file of its class names and their number.
    - `label_bytes`: the label features in the order of the bytes that start each record.
    - `splits`: for each split, its files in order.
    - `counts`: for each split, the total number of records in its published files.
    """

    label_files: Mapping[str, tuple[str, int]]
    label_bytes: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, int]

    @property
    def record_bytes(self) -> int:
        """Length of one image with its labels."""
        return len(self.label_bytes) + 3 * 32 * 32

    @property
    def file_bytes(self) -> dict[str, int]:
        """The maximum length of each file."""
        sizes = {file: _NAMES_BYTES for file, _ in self.label_files.values()}
        for split, files in self.splits.items():
            sizes |= {file: self.counts[split] // len(files) * self.record_bytes for file in files}
        return sizes


def read_idx(paths: Mapping[str, Path], class_names: tuple[str, ...], counts: Mapping[str, int]) -> Contents:
    """Read the four IDX files of MNIST or a set shaped like it.

    **Arguments:**

    - `paths`: the files by their published names, gzipped or not.
    - `class_names`: names of the classes.
    - `counts`: the number of images in each published split; a file with more is refused.

    **Returns:**

    The contents.

    **Raises:**

    `DatasetError` if a file is damaged, has another format or disagrees with its partner.
    """
    images, labels = {}, {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        image_path, label_path = paths[f"{stem}-images-idx3-ubyte.gz"], paths[f"{stem}-labels-idx1-ubyte.gz"]
        images[split] = _parse_idx(image_path, _IMAGES_MAGIC, (28, 28), counts[split])[..., None]
        labels[split] = {"label": _parse_idx(label_path, _LABELS_MAGIC, (), counts[split])}
        if len(images[split]) != len(labels[split]["label"]):
            raise DatasetError(
                f"expected as many labels in {label_path} as images in {image_path}, got "
                f"{len(labels[split]['label'])} and {len(images[split])}; {AGAIN}"
            )
        _check_labels(labels[split]["label"], len(class_names), label_path)
    return Contents({"label": class_names}, images, labels, has_ids=False)


def _parse_idx(path: Path, magic: int, item_shape: tuple[int, ...], most: int) -> np.ndarray:
    header = 8 + 4 * len(item_shape)
    data = unzip(path, header + most * math.prod(item_shape))
    if len(data) < header:
        raise DatasetError(f"expected a header of {header} bytes in {path}, got {len(data)} bytes; {AGAIN}")
    got_magic, count, *shape = struct.unpack(f">{header // 4}I", data[:header])
    if got_magic != magic:
        raise DatasetError(f"expected the IDX magic {magic:#010x} in {path}, got {got_magic:#010x}; {AGAIN}")
    if tuple(shape) != item_shape or count < 1:
        raise DatasetError(f"expected items of {item_shape} in {path}, got {count} of {tuple(shape)}; {AGAIN}")
    expected = header + count * math.prod(item_shape)
    if len(data) != expected:
        raise DatasetError(f"expected {expected} bytes in {path} by its header, got {len(data)}; {AGAIN}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(count, *item_shape)


def read_cifar(path: Path, layout: CifarLayout) -> Contents:
    """Read the binary version of CIFAR-10 or CIFAR-100.

    **Arguments:**

    - `path`: the tar archive, or the folder that it unpacks to.
    - `layout`: the expected layout.

    **Returns:**

    The contents.

    **Raises:**

    `DatasetError` if a file is damaged, missing or has another format.
    """
    sizes = layout.file_bytes
    members = read_folder(path, sizes) if path.is_dir() else read_tar(path, sizes)
    class_names = {
        key: _parse_names(members[file], count, f"{file} of {path}")
        for key, (file, count) in layout.label_files.items()
    }
    images, labels = {}, {}
    for split, files in layout.splits.items():
        parts = [_parse_records(members.pop(f), layout, f"{f} of {path}") for f in files]
        images[split] = np.concatenate([pixels for _, pixels in parts])
        columns = np.concatenate([columns for columns, _ in parts])
        labels[split] = {key: columns[:, i] for i, key in enumerate(layout.label_bytes)}
        for key, values in labels[split].items():
            _check_labels(values, len(class_names[key]), path)
    return Contents(class_names, images, labels, has_ids=True)


def _parse_names(data: bytes, count: int, where: str) -> tuple[str, ...]:
    names = tuple(line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip())
    if len(names) != count or len(set(names)) != count or not all(name.isprintable() for name in names):
        start = ", ".join(repr(name[:40]) for name in names[:5])
        raise DatasetError(f"expected {count} different class names in {where}, got {start}...; {AGAIN}")
    return names


def _parse_records(data: bytes, layout: CifarLayout, where: str) -> tuple[np.ndarray, np.ndarray]:
    first, size = len(layout.label_bytes), layout.record_bytes
    if not data or len(data) % size:
        raise DatasetError(f"expected whole records of {size} bytes in {where}, got {len(data)} bytes; {AGAIN}")
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    pixels = records[:, first:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return records[:, :first].copy(), np.ascontiguousarray(pixels)


def _check_labels(labels: np.ndarray, classes: int, path: Path) -> None:
    if labels.max() >= classes:
        raise DatasetError(f"expected labels in [0, {classes}) in {path}, got {labels.max()}; {AGAIN}")
