"""Writing and removing files so that nobody's files are lost: whole files or none, and only our own."""

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from .._check import is_extended
from .._wording import given
from .errors import RunError


# The name of a half-written file until it is whole; no other file is ever taken for one.
_TEMPORARY = re.compile(r"\.noprop_ode-[^/]+\.\d+(\.[0-9a-f]{8})?\.tmp")
# Errors of file systems that cannot sync a folder, some network ones among them; and of a folder that cannot be listed.
_NO_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)


def write_atomically(path: str | os.PathLike[str], write: Callable[[Any], Any]) -> None:
    """Writes a file next to its destination, makes sure that it has reached the disk, and moves it into place.

    A symbolic link in its place is replaced, not followed. The folder must exist: a missing one is not created.

    **Arguments:**

    - `path`: where to write.
    - `write`: writes to an open binary file.

    **Raises:** [`noprop_ode.RunError`][] for any failure of the file system; the file that was there is then intact.
    """
    path = Path(path)
    # Another thread, or a process of another container, may write the same file with the same process id.
    temporary = path.with_name(f".noprop_ode-{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with open(temporary, "xb") as file:  # exclusive, so that no link of that name is written through
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)  # the new name, too
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        if isinstance(error, FileNotFoundError) and not path.parent.exists():
            raise RunError(
                f"Could not write {shown(path)}: there is no folder {shown(path.parent)}; make it first."
            ) from error
        raise RunError(
            f"Could not write {shown(path)}: {reason(error)}. What was there before is untouched; free some space or "
            "mend the permissions, then continue."
        ) from error


def write_file(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes bytes as `write_atomically` does."""
    write_atomically(path, lambda file: file.write(content))


def identity(path: Path) -> tuple[int, int] | None:
    """Identifies the file that is at a path at this moment."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns


def shown(path: Path) -> str:
    """A path for a message: unchanged, unless it is very long or not printable."""
    text = str(path)
    return text if len(text) < 500 and text.isprintable() else ascii(text)[:200]


def reason(error: OSError | ValueError) -> str:
    """Why a path could not be used, without the path."""
    return str((error.strerror if isinstance(error, OSError) else None) or error)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder have reached the disk, if the system supports that."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def remove_leftovers(folder: Path) -> None:
    """Removes files that `write_atomically` left half-written in a killed process: only regular files of exactly that
    pattern, directly in this folder. A folder that is a link is left alone.

    **Arguments:** `folder`, which nobody else is writing to now.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # its writer removed it first
            if _TEMPORARY.fullmatch(path.name) and stat.S_ISREG(path.lstat().st_mode):
                path.unlink()


def make_folder(path: Path) -> None:
    """Makes a folder, unless it is there. **Raises:** [`noprop_ode.RunError`][] if it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"The folder {path} cannot be made: {reason(error)}.") from error


def say(text: str) -> None:
    """Prints to standard error. A log that is full or gone must not end a run."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def plain_number(value: Any) -> Any:
    """Converts a NumPy or JAX scalar among plain values to a Python number."""
    if isinstance(value, np.generic) or (eqx.is_array(value) and value.size == 1):
        return float(value) if is_extended(np.dtype(value.dtype)) else value.item()  # its item is itself again
    raise TypeError(
        f"Expected plain values, numbers, text, lists and dictionaries, in what is kept of a run; got {given(value)}."
    )
