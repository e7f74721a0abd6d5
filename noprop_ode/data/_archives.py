"""Reads the archives that MNIST and CIFAR are published as, trusting nothing in them.

Formats: http://yann.lecun.com/exdb/mnist/ (IDX), https://www.cs.toronto.edu/~kriz/cifar.html (binary).
"""

import gzip
import struct
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8

from ._errors import DatasetError


# No file of these data sets unpacks to more than 184 MB; a file that does is not one of them.
_MAX_BYTES = 256 * 2**20
_IMAGES_MAGIC, _LABELS_MAGIC = 0x00000803, 0x00000801
_AGAIN = "fetch the archive again"


@dataclass(frozen=True, eq=False)
class Contents:
    """What the archives of one data set hold, in their order.

    **Arguments:**

    - `class_names`: for each label feature, the names of its classes; `"label"` is the one to learn.
    - `images`: for each split, images `[n h w c]`.
    - `labels`: for each split and label feature, classes `[n]`.
    - `has_ids`: whether each example also carries the text `SPLIT_INDEX`, as TFDS has it for CIFAR.
    """

    class_names: Mapping[str, tuple[str, ...]]
    images: Mapping[str, UInt8[np.ndarray, "n h w c"]]
    labels: Mapping[str, Mapping[str, UInt8[np.ndarray, " n"]]]
    has_ids: bool


@dataclass(frozen=True)
class CifarLayout:
    """How one CIFAR archive is laid out.

    **Arguments:**

    - `label_files`: for each label feature, the file of its class names and their number.
    - `label_bytes`: the label features in the order of the bytes that start each record.
    - `splits`: for each split, its files in order.
    """

    label_files: Mapping[str, tuple[str, int]]
    label_bytes: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]


def read_idx(paths: Mapping[str, Path], class_names: tuple[str, ...]) -> Contents:
    """Read the four IDX files of MNIST or a set shaped like it.

    **Arguments:**

    - `paths`: the files by their published names, gzipped or not.
    - `class_names`: names of the classes.

    **Returns:**

    The contents.

    **Raises:**

    `DatasetError` where a file is damaged, has another format or disagrees with its partner.
    """
    images, labels = {}, {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        image_path, label_path = paths[f"{stem}-images-idx3-ubyte.gz"], paths[f"{stem}-labels-idx1-ubyte.gz"]
        images[split] = _parse_idx(image_path, _IMAGES_MAGIC, (28, 28))[..., None]
        labels[split] = {"label": _parse_idx(label_path, _LABELS_MAGIC, ())}
        if len(images[split]) != len(labels[split]["label"]):
            raise DatasetError(
                f"expected as many labels in {label_path} as images in {image_path}, got "
                f"{len(labels[split]['label'])} and {len(images[split])}; {_AGAIN}"
            )
        _check_labels(labels[split]["label"], len(class_names), label_path)
    return Contents({"label": class_names}, images, labels, has_ids=False)


def _parse_idx(path: Path, magic: int, item_shape: tuple[int, ...]) -> np.ndarray:
    data = _unzip(path)
    header = 8 + 4 * len(item_shape)
    if len(data) < header:
        raise DatasetError(f"expected a header of {header} bytes in {path}, got {len(data)} bytes; {_AGAIN}")
    got_magic, count, *shape = struct.unpack(f">{header // 4}I", data[:header])
    if got_magic != magic:
        raise DatasetError(f"expected the IDX magic {magic:#010x} in {path}, got {got_magic:#010x}; {_AGAIN}")
    if tuple(shape) != item_shape or count < 1:
        raise DatasetError(f"expected items of {item_shape} in {path}, got {count} of {tuple(shape)}; {_AGAIN}")
    expected = header + count * int(np.prod(item_shape))
    if len(data) != expected:
        raise DatasetError(f"expected {expected} bytes in {path} by its header, got {len(data)}; {_AGAIN}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(count, *item_shape)


def _unzip(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(f"expected a whole gzip file in {path}, got: {error}; {_AGAIN}") from error
    if len(data) > _MAX_BYTES:
        raise DatasetError(f"expected at most {_MAX_BYTES} bytes in {path}, got more; {_AGAIN}")
    return data


def read_cifar(path: Path, layout: CifarLayout) -> Contents:
    """Read the binary version of CIFAR-10 or CIFAR-100.

    **Arguments:**

    - `path`: the tar archive, or the folder that it unpacks to.
    - `layout`: what to look for in it.

    **Returns:**

    The contents.

    **Raises:**

    `DatasetError` where a file is damaged, missing or has another format.
    """
    wanted = [f for files in layout.splits.values() for f in files]
    wanted += [file for file, _ in layout.label_files.values()]
    members = _read_folder(path, wanted) if path.is_dir() else _read_tar(path, wanted)
    class_names = {
        key: _parse_names(members[file], count, f"{file} of {path}")
        for key, (file, count) in layout.label_files.items()
    }
    images, labels = {}, {}
    for split, files in layout.splits.items():
        parts = [_parse_records(members[f], len(layout.label_bytes), f"{f} of {path}") for f in files]
        images[split] = np.concatenate([pixels for _, pixels in parts])
        columns = np.concatenate([columns for columns, _ in parts])
        labels[split] = {key: columns[:, i] for i, key in enumerate(layout.label_bytes)}
        for key, values in labels[split].items():
            _check_labels(values, len(class_names[key]), path)
    return Contents(class_names, images, labels, has_ids=True)


def _read_folder(path: Path, wanted: list[str]) -> dict[str, bytes]:
    missing = [name for name in wanted if not (path / name).is_file()]
    if missing:
        raise DatasetError(f"expected {', '.join(missing)} in {path}, which has none; unpack the archive again")
    return {name: _unzip(path / name) for name in wanted}


def _read_tar(path: Path, wanted: list[str]) -> dict[str, bytes]:
    # Members are read in memory by the last part of their name, so none can write anywhere.
    members = {}
    try:
        with tarfile.open(path, "r:*") as tar:
            for member in tar:
                name = PurePosixPath(member.name).name
                if name not in wanted or not member.isfile():
                    continue
                if name in members or member.size > _MAX_BYTES:
                    raise DatasetError(f"expected one {name} of moderate size in {path}; {_AGAIN}")
                file = tar.extractfile(member)
                members[name] = file.read() if file else b""
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(f"expected a whole tar archive in {path}, got: {error}; {_AGAIN}") from error
    missing = [name for name in wanted if name not in members]
    if missing:
        raise DatasetError(
            f"expected {', '.join(missing)} in {path}, which has none; it must be the binary version, whole: {_AGAIN}"
        )
    return members


def _parse_names(data: bytes, count: int, where: str) -> tuple[str, ...]:
    names = tuple(line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip())
    if len(names) != count or len(set(names)) != count or not all(name.isprintable() for name in names):
        raise DatasetError(f"expected {count} different class names in {where}, got {names[:5]}...; {_AGAIN}")
    return names


def _parse_records(data: bytes, label_bytes: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    size = label_bytes + 3 * 32 * 32
    if not data or len(data) % size:
        raise DatasetError(f"expected whole records of {size} bytes in {where}, got {len(data)} bytes; {_AGAIN}")
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    pixels = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return records[:, :label_bytes], np.ascontiguousarray(pixels)


def _check_labels(labels: np.ndarray, classes: int, path: Path) -> None:
    if labels.max() >= classes:
        raise DatasetError(f"expected labels in [0, {classes}) in {path}, got {labels.max()}; {_AGAIN}")
