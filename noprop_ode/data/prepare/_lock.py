"""A lock, so that one run at a time prepares a data set."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .._errors import require


@contextlib.contextmanager
def alone(lock: Path, folder: Path) -> Iterator[None]:
    """Lock a folder against other runs; the lock ends with the process, however that ends.

    The folder is created if missing, and the run that created it removes it again if it is still empty. The lock file
    is empty and stays: if it were removed, a second run could hold it while a third one creates it again.

    **Arguments:**

    - `lock`: the file to lock.
    - `folder`: the folder that it protects.

    **Raises:**

    `OSError` if another run holds it, or somebody else's file has its name.
    """
    filelock = require("filelock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    # Some versions of filelock truncate the file that they lock, and some follow a link to it.
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
