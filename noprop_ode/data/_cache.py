"""A cache of decoded images, so that only the first load of a data set decodes anything."""

import contextlib
import functools
import hashlib
import math
import os
import struct
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8


Arrays = tuple[UInt8[np.ndarray, "n h w c"], Int32[np.ndarray, " n"]]

# A cache file consists of these bytes, the shape, a checksum of everything else, the labels and the images. Its length
# follows from the shape, so that no file, however damaged, takes more memory than it takes on disk.
_MAGIC = b"noprop_ode images 1\n"
_HEADER = struct.Struct("<20s4QI")
_CHUNK = 2**20

_PREFIX = ".noprop_ode-"  # of files that are being written
_ABANDONED_SECONDS = 24 * 3600


def cache_dir() -> Path:
    """The folder of cached arrays.

    **Returns:**

    `$NOPROP_ODE_CACHE`, else `$XDG_CACHE_HOME/noprop_ode`, else `~/.cache/noprop_ode`.
    """
    if chosen := os.environ.get("NOPROP_ODE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "noprop_ode"


def fingerprint(folder: Path) -> str:
    """Identify the state of a folder without reading its files.

    **Arguments:**

    - `folder`: the folder of one prepared data set.

    **Returns:**

    16 hexadecimal digits, from the names, sizes and modification times of its files.
    """
    stats = [(f.name, f.stat()) for f in sorted(folder.iterdir()) if f.is_file()]
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(repr(listing).encode()).hexdigest()[:16]


def cached(key: str, count: int, make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays cached under a key, or make and cache them.

    A damaged cache file is made again, and reading it takes no more memory than the images. If the cache folder cannot
    be written, one warning says so, and nothing is cached.

    **Arguments:**

    - `key`: file name without its suffix.
    - `count`: the number of images, n.
    - `make`: makes the arrays.

    **Returns:**

    Images `[n h w c]` and labels `[n]`.
    """
    try:
        path = cache_dir() / f"{key}.images"
    except RuntimeError:  # a user without a home
        warn_once("there is no home folder to keep decoded images in; set NOPROP_ODE_CACHE to a folder")
        return make()
    arrays = _read(path, count)
    if arrays is None:
        arrays = make()
        _write(path, arrays)
    return arrays


def _read(path: Path, count: int) -> Arrays | None:
    try:
        if not path.is_file():
            return None
        with open(path, "rb") as file:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return None
            magic, *shape, checksum = _HEADER.unpack(header)
            length = _HEADER.size + 4 * shape[0] + math.prod(shape)
            if magic != _MAGIC or shape[0] != count or os.fstat(file.fileno()).st_size != length:
                return None
            # The checksum first: nothing is allocated for a damaged file.
            found = zlib.crc32(header[:-4])
            while chunk := file.read(_CHUNK):
                found = zlib.crc32(chunk, found)
            if found != checksum:
                return None
            file.seek(_HEADER.size)
            labels = np.fromfile(file, "<i4", shape[0]).astype(np.int32, copy=False)
            images = np.fromfile(file, np.uint8, math.prod(shape)).reshape(shape)
            return images, labels
    except (OSError, ValueError, MemoryError):  # a failing disk, or a file that changes while it is read
        return None


def _write(path: Path, arrays: Arrays) -> None:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _forget_abandoned(path.parent)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=_PREFIX, suffix=".tmp", delete=False) as file:
            temporary = file.name
            _write_arrays(file, *arrays)
        os.replace(temporary, path)
    except OSError as error:
        warn_once(
            f"cannot keep decoded images in {path.parent} ({error}), so they are decoded on every load; "
            "set NOPROP_ODE_CACHE to a folder that can be written"
        )
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def _forget_abandoned(folder: Path) -> None:
    """Deletes the files of processes that were killed while writing, each the size of a data set."""
    for path in folder.glob(f"{_PREFIX}*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()


def _write_arrays(file: Any, images: np.ndarray, labels: np.ndarray) -> None:
    parts = [np.ascontiguousarray(a).reshape(-1).view(np.uint8).data for a in (labels.astype("<i4"), images)]
    header = _HEADER.pack(_MAGIC, *images.shape, 0)[:-4]
    checksum = zlib.crc32(header)
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    file.write(header + struct.pack("<I", checksum))
    for part in parts:
        file.write(part)


@functools.cache
def warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=2)
