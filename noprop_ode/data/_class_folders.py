"""A data set from picture files, one folder per class."""

import math
import os
from pathlib import Path

import numpy as np

from ._cut import check_cut, cut_test, cut_validation
from ._dataset import Dataset, Splits
from ._decode import SUFFIXES
from ._errors import DatasetError
from ._folders import expanded
from ._picture_files import PictureFiles, upright_size_and_mode
from ._resize import check_size
from ._streamed import StreamedImages, check_stream


_PARTS = {"train": "train", "test": "test", "validation": "validation", "val": "validation", "valid": "validation"}
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")


def from_folder(
    path: str | os.PathLike[str],
    *,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    test: int | float | None = None,
    validation: int | float = 0.1,
    seed: int = 0,
    follow_links: bool = False,
    stream: bool = False,
    workers: int = 0,
) -> Splits:
    """Read pictures from one folder per class: `path/CLASS/*.png`, or `path/train/CLASS` and `path/test/CLASS`.

    The classes are the folders of the training part, sorted by name. A folder named `validation`, `valid` or `val` next
    to `train` is the validation part. PNG, JPEG, GIF, BMP, TIFF, WebP and PPM files are read: the first frame of each,
    rotated according to its EXIF orientation, without transparency, with 16-bit values and floating point in [0, 1]
    rounded to 8 bits. Hidden files and those with other suffixes are skipped.

    **Arguments:**

    - `path`: the folder.
    - `image_size`: height and width in pixels to resize every image to; `None` keeps their size.
    - `channels`: 1 for grey, 3 for colour; `None` for grey if all images are grey, else colour.
    - `test`: a fraction of the images in [0, 1), or a number of them, split off by class and the same for every seed;
      `None` for the folder `test`, or no test part if there is none.
    - `validation`: likewise, from the remaining images and chosen by `seed`; ignored if there is a folder for it,
      except that 0 means none.
    - `seed`: chooses the images that are split off for validation; at least 0.
    - `follow_links`: whether to follow symbolic links below `path`; otherwise they are refused.
    - `stream`: leave the images on disk, and decode them as training and evaluation need them, in the same order as in
      memory; needs the `stream` extra. If `image_size` and `channels` are given, no file is opened before that.
    - `workers`: processes that decode streamed images ahead of training; 0 for a thread of this process.

    **Returns:**

    The parts, with the images in the order of their classes and file names; `validation` and `test` are `None` if there
    is none.

    **Raises:**

    `DatasetError` naming the file or folder that cannot be used, `MissingDependencyError` if Pillow is missing.
    """
    root = expanded(path)
    check_cut("validation", validation, seed)
    check_size(image_size)
    check_stream(stream, workers)
    if test is not None:
        check_cut("test", test, 0)
    if channels not in (None, 1, 3):
        raise DatasetError(f"expected channels as 1, 3 or None, got {channels}")
    if not root.is_dir():
        raise DatasetError(f"expected a folder of images, one folder a class, at {root}, got something else or nothing")
    folders = _part_folders(root, follow_links)
    if validation == 0:
        folders.pop("validation", None)
    if "test" in folders and test is not None:
        raise DatasetError(f"{root} has a folder {folders['test'].name!r}, so leave test=... out, or move it away")
    listed = {part: _list_files(folder, follow_links) for part, folder in folders.items()}
    class_names = tuple(listed["train"])
    for part, classes in listed.items():
        if strange := sorted(set(classes) - set(class_names)):
            raise DatasetError(f"expected the classes of {folders['train']} in {folders[part]}, got {strange[:5]} too")
    files = [f for classes in listed.values() for fs in classes.values() for f in fs]
    if stream and image_size is not None and channels is not None:
        shape = image_size, (*image_size, channels)
    else:
        shape = _common_shape(files, image_size, channels)
    made = {
        part: _read_part(f"{root.name}/{part}", classes, class_names, shape, workers if stream else None)
        for part, classes in listed.items()
    }
    train, held_out, tested = made["train"], made.get("validation"), made.get("test")
    if test is not None and test != 0:
        train, tested = cut_test(train, test)
    if held_out is None:
        train, held_out = cut_validation(train, validation, seed)
    return Splits(train, held_out, tested)


def _part_folders(root: Path, follow_links: bool) -> dict[str, Path]:
    """The folder of each part: `root` itself if its folders are classes, one of which may be called "train"."""
    there = {folder.name: folder for folder in _folders_in(root, follow_links)}
    if "train" not in there or not _folders_in(there["train"], follow_links):
        return {"train": root}
    if strange := [name for name in there if name not in _PARTS]:
        if _pictures_in(there["train"], follow_links):
            return {"train": root}
        raise DatasetError(
            f"expected folders named {', '.join(_PARTS)} in {root}, as {there['train']} holds one folder a class, "
            f"got {strange[:5]} too; move those away or rename them"
        )
    named = {_PARTS[name]: folder for name, folder in there.items()}
    if len(named) < len(there):
        several = " and ".join(repr(name) for name in there if _PARTS[name] == "validation")
        raise DatasetError(f"expected one folder of validation images in {root}, got {several}")
    return named


def _list_files(folder: Path, follow_links: bool) -> dict[str, list[Path]]:
    classes = {}
    for inner in _folders_in(folder, follow_links):
        if not inner.name.isprintable():
            raise DatasetError(f"expected a readable class name, got the folder {inner.name!r} in {folder}; rename it")
        classes[inner.name] = _pictures_in(inner, follow_links)
        if not classes[inner.name]:
            raise DatasetError(
                f"expected images ({', '.join(SUFFIXES)}) in {inner}, got none; put some there or remove the folder"
            )
    if not classes:
        raise DatasetError(f"expected one folder a class in {folder}, got no folders; sort the images into some")
    return classes


def _pictures_in(folder: Path, follow_links: bool) -> list[Path]:
    return [f for f in _entries(folder, follow_links) if f.suffix.lower() in SUFFIXES and f.is_file()]


def _folders_in(folder: Path, follow_links: bool) -> list[Path]:
    return [f for f in _entries(folder, follow_links) if f.is_dir()]


def _entries(folder: Path, follow_links: bool) -> list[Path]:
    try:
        found = sorted((f for f in folder.iterdir() if not f.name.startswith(".")), key=lambda f: f.name)
    except OSError as error:
        raise DatasetError(f"cannot list the folder {folder}: {error.strerror}") from error
    for path in found:
        if path.is_symlink() and not path.exists() and path.suffix.lower() in ("", *SUFFIXES):
            raise DatasetError(f"{path} is a symbolic link to nothing; mend or remove it")
        if not follow_links and path.is_symlink() and (path.is_dir() or path.suffix.lower() in SUFFIXES):
            raise DatasetError(f"{path} is a symbolic link; pass follow_links=True to read what it points to")
    return found


def _common_shape(
    files: list[Path], image_size: tuple[int, int] | None, channels: int | None
) -> tuple[tuple[int, int] | None, tuple[int, int, int]]:
    """The size to resize to, and the shape of every image, from the file headers alone."""
    sizes: dict[tuple[int, int], Path] = {}
    grey = True
    for path in files:
        (height, width), mode = upright_size_and_mode(path)
        sizes.setdefault((height, width), path)
        grey = grey and mode in _GREY
    if image_size is None and len(sizes) > 1:
        two = " and ".join(f"{path} has {h}x{w}" for (h, w), path in list(sizes.items())[:2])
        raise DatasetError(f"expected images of one size, but {two}; pass image_size=(height, width) to resize them")
    height, width = image_size or next(iter(sizes))
    return image_size, (height, width, channels or (1 if grey else 3))


def _read_part(
    name: str,
    classes: dict[str, list[Path]],
    class_names: tuple[str, ...],
    shape: tuple[tuple[int, int] | None, tuple[int, int, int]],
    workers: int | None,
) -> Dataset:
    files = [(label, path) for label, key in enumerate(class_names) for path in classes.get(key, [])]
    labels = np.array([label for label, _ in files])
    pictures = PictureFiles(tuple(str(path) for _, path in files), *shape)
    if workers is not None:
        return Dataset(name, StreamedImages(pictures, pictures.identities(), workers=workers), labels, class_names)
    try:
        images = pictures.read(np.arange(len(files)))
    except MemoryError as error:
        size = len(files) * math.prod(shape[1]) / 2**30
        raise DatasetError(
            f"{name} takes {size:.0f} GiB of memory; pass a smaller image_size, or stream=True"
        ) from error
    return Dataset(name, images, labels, class_names)
