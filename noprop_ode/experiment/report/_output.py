"""Files appear whole or not at all, and replace existing ones, links included, instead of writing through them."""

import os
import re
import stat
from pathlib import Path

from ..._training.files import write_atomically


def write_file(path: Path, content: bytes) -> None:
    """Writes a file atomically, and removes what killed writers of the same file left.

    **Arguments:** the path, and the content.

    **Raises:** `RunError` for any failure of the file system.
    """
    remove_leftovers(path)
    write_atomically(path, lambda file: file.write(content))


def remove_leftovers(path: Path) -> None:
    """Removes half-written copies of a file: regular files named as `write_atomically` names them, whose
    process is gone. Links, folders and everything else stay.

    **Arguments:** `path`, of the whole file.
    """
    pattern = re.compile(rf"\.noprop_ode-{re.escape(path.name)}\.(\d{{1,10}})(?:\.[0-9a-f]{{8}})?\.tmp")
    try:
        found = list(os.scandir(path.parent))
    except OSError:
        return
    for entry in found:
        match = pattern.fullmatch(entry.name)
        try:
            if match and stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode) and not _alive(int(match[1])):
                os.unlink(entry.path)
        except OSError:
            continue  # somebody else was faster, or it is not ours to remove


def _alive(process: int) -> bool:
    if process == os.getpid():
        return False  # this process is about to rewrite the file
    if os.name != "posix":
        return True  # elsewhere `os.kill` does not test a process, it interrupts it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
