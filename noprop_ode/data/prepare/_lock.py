"""One run at a time prepares a data set."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .._errors import require


@contextlib.contextmanager
def alone(lock: Path, folder: Path) -> Iterator[None]:
    """Hold a folder against other runs; the lock goes with the process, however that ends.

    The folder is made where missing, and removed again by the run that made it where nothing came to be in it. The
    lock file is empty and stays: one that is removed could be held by a second run while a third makes it anew.

    **Arguments:**

    - `lock`: the file to lock.
    - `folder`: what it stands for.

    **Raises:**

    `OSError` where another run holds it, or a file of someone else has its name.
    """
    filelock = require("filelock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    # Some versions of filelock empty the file that they lock, and some follow a link to it.
    if os.path.lexists(lock) and not (stat.S_ISREG(lock.lstat().st_mode) and lock.lstat().st_size == 0):
        raise OSError(f"expected nothing or our empty lock file at {lock}, got something else; move it away")
    held = filelock.FileLock(lock)
    try:
        held.acquire(blocking=False)
    except filelock.Timeout as error:
        raise OSError(f"another run is preparing {folder}; wait until it has finished") from error
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):  # not empty: it holds a prepared version
                folder.rmdir()
        held.release()
