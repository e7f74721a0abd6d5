"""Decoded images, kept so that only the first load of a data set decodes anything."""

import functools
import hashlib
import os
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8


Arrays = tuple[UInt8[np.ndarray, "n h w c"], Int32[np.ndarray, " n"]]


def cache_dir() -> Path:
    """Choose the folder of cached arrays.

    **Returns:**

    `$NOPROP_ODE_CACHE`, else `$XDG_CACHE_HOME/noprop_ode`, else `~/.cache/noprop_ode`.
    """
    if chosen := os.environ.get("NOPROP_ODE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "noprop_ode"


def fingerprint(folder: Path) -> str:
    """Tell one state of a folder from another without reading its files.

    **Arguments:**

    - `folder`: the folder of one prepared data set.

    **Returns:**

    16 hexadecimal digits made from the names, sizes and modification times of its files.
    """
    stats = [(f.name, f.stat()) for f in sorted(folder.iterdir()) if f.is_file()]
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(repr(listing).encode()).hexdigest()[:16]


def cached(key: str, make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays cached under a key, making them where there are none.

    A cache file that cannot be read is made again; a cache folder that cannot be written is
    reported by one warning and done without.

    **Arguments:**

    - `key`: file name without its suffix.
    - `make`: makes the arrays.

    **Returns:**

    Images `[n h w c]` and labels `[n]`.
    """
    path = cache_dir() / f"{key}.npz"
    arrays = _read(path)
    if arrays is None:
        arrays = make()
        _write(path, arrays)
    return arrays


def _read(path: Path) -> Arrays | None:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            images, labels = stored["images"], stored["labels"]
    # What NumPy raises for files that are cut short, overwritten or not archives at all.
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return None
    well_formed = images.dtype == np.uint8 and images.ndim == 4 and labels.dtype == np.int32
    return (images, labels) if well_formed and labels.shape == images.shape[:1] else None


def _write(path: Path, arrays: Arrays) -> None:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = file.name
            np.savez(file, images=arrays[0], labels=arrays[1])
        os.replace(temporary, path)
    except OSError as error:
        _warn_once(
            f"cannot keep decoded images in {path.parent} ({error}), so they are decoded on every load; "
            "set NOPROP_ODE_CACHE to a folder that can be written"
        )
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=2)
