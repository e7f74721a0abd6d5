"""The folder of one run: locked, recognised again, and never taken from another run."""

import contextlib
import errno
import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._optional import need
from .errors import FolderLostError, RunError
from .files import reason, remove_leftovers, shown, write_file


CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
_LOCK = ".noprop_ode.lock"
_UNFINISHED = re.compile(r"^step-\d+\.orbax-checkpoint-tmp")  # left by a run that was killed while it wrote its first


class RunFolder:
    """The folder of one run, locked until it is closed; a context manager.

    Only files with names that belong to a run are written, and a new run begins only if none of them exists.
    """

    path: Path

    def __init__(self, path: str | os.PathLike[str]):
        """**Arguments:** `path`, created if it does not exist.

        **Raises:** [`noprop_ode.RunError`][] if it cannot be created or written, or if another run is writing to it.
        """
        self.path = Path(path)
        filelock = need("filelock", "A run that writes to a folder")
        try:
            self._made = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(self.path / _LOCK, thread_local=False)
            self._lock.acquire(timeout=0)
            self._identity = self._look()
        except filelock.Timeout as error:
            raise RunError(
                f"Another run is writing to {self.path} at this moment; wait for it, or choose another folder."
            ) from error
        except (OSError, ValueError, NotImplementedError) as error:  # ValueError: a null byte in the path
            why = str(error) if isinstance(error, NotImplementedError) else reason(error)
            raise RunError(f"Cannot write to the folder {shown(self.path)}: {why}.") from error
        remove_leftovers(self.path)
        remove_leftovers(self / CHECKPOINTS)

    @staticmethod
    def numbered(parent: str | os.PathLike[str], stem: str) -> "RunFolder":
        """A new numbered folder: the first of `stem-00`, `stem-01`, ... that does not exist.

        **Raises:** [`noprop_ode.RunError`][] if it cannot be created.
        """
        try:
            Path(parent).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"Cannot make the folder {parent}: {error.strerror}.") from error
        for number in itertools.count():
            path = Path(parent) / f"{stem}-{number:02d}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise RunError(f"Cannot make the output folder {path}: {error.strerror}.") from error
            folder = RunFolder(path)
            folder._made = True
            return folder
        raise AssertionError("unreachable")

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def close(self) -> None:
        """Releases the folder. One that was created in vain, because the run failed to start, is removed again."""
        if os.name == "posix":  # before the lock is released, or another process could have it by then
            self._remove_if_empty()
        self._lock.release()
        if os.name != "posix":  # where an open file cannot be removed
            self._remove_if_empty()

    def _remove_if_empty(self) -> None:
        with contextlib.suppress(OSError):
            if self._made and self.is_there and {p.name for p in self.path.iterdir()} <= {_LOCK}:
                (self / _LOCK).unlink(missing_ok=True)
                self.path.rmdir()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def claim(self, names: Iterable[str]) -> None:
        """Makes sure that a new run may write files of these names: that none of them exists.

        **Raises:** [`noprop_ode.RunError`][] naming what is in the way.
        """
        checkpoints = self / CHECKPOINTS
        taken = [name for name in names if os.path.lexists(self / name)]
        if os.path.lexists(checkpoints):
            self.refuse_link()
            if not checkpoints.is_dir() or any(not _UNFINISHED.search(path.name) for path in checkpoints.iterdir()):
                taken.append(CHECKPOINTS)
        if taken:
            raise RunError(
                f"{self.path} already holds {', '.join(sorted(taken))}, which a new run would write over. Choose "
                "another folder, move them away, or resume the run that they belong to."
            )

    def refuse_link(self) -> None:
        """Refuses checkpoints behind a symbolic link: a run removes old ones, and must not do so elsewhere.

        **Raises:** [`noprop_ode.RunError`][].
        """
        if (self / CHECKPOINTS).is_symlink():
            raise RunError(
                f"{self / CHECKPOINTS} is a symbolic link, through which a run removes no file. Make it a folder, or "
                "link the whole folder of the run instead."
            )

    @property
    def is_there(self) -> bool:
        """Whether the folder is still where it was. If the file system fails to say, it is assumed to be: a write that
        fails will say so itself."""
        try:
            return self._look() == self._identity
        except OSError as error:
            return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)

    def check(self) -> None:
        """**Raises:** `FolderLostError` if the folder is no longer where it was."""
        if not self.is_there:
            raise FolderLostError(self.lost)

    @property
    def lost(self) -> str:
        """The message once the folder is gone."""
        return f"The folder {self.path} was removed or renamed while the run was writing to it."

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, atomically.

        **Raises:** [`noprop_ode.RunError`][] if that fails, or if the folder is no longer there.
        """
        self.check()
        write_file(self / name, content)

    def _look(self) -> tuple[int, int]:
        status = os.stat(self.path)
        return status.st_dev, status.st_ino
