"""The checkpoints of a run."""

import contextlib
import re
import shutil
from pathlib import Path
from typing import Any

from .checkpoint import load_arrays, read_header, save_arrays
from .errors import CheckpointError, RunError
from .files import say
from .folder import CHECKPOINTS, RunFolder
from .sharded import read_parts_header


_NAME = re.compile(r"step-(\d{8,})(\.safetensors)?")  # a file, or the folder of a checkpoint in parts
BEST, EPOCH = "best.safetensors", "epoch.safetensors"


class CheckpointStore:
    """The newest few checkpoints of a run, in `checkpoints/`, and named ones beside them."""

    def __init__(self, folder: RunFolder, *, keep: int):
        """**Arguments:**

        - `folder`: the folder of the run.
        - `keep`: how many checkpoints to keep.
        """
        self.folder = folder
        self.keep = keep

    def path(self, name: str) -> Path:
        """Where a checkpoint of this name is."""
        return self.folder / CHECKPOINTS / name

    def save(self, name: str, tree: Any, metadata: dict[str, Any]) -> None:
        """Writes a checkpoint.

        **Raises:** [`noprop_ode.RunError`][] if it cannot be written.
        """
        self._make_folder()
        save_arrays(self.path(name), tree, metadata)

    def _make_folder(self) -> None:
        self.folder.check()
        try:
            (self.folder / CHECKPOINTS).mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"Could not make {self.folder / CHECKPOINTS}: {error.strerror}.") from error

    def save_step(self, step: int, tree: Any, metadata: dict[str, Any], *, newest: bool = False) -> None:
        """Writes the checkpoint of a step, then removes those beyond the newest few; before that, if it is to be the
        `newest`, those of later steps.

        **Raises:** [`noprop_ode.RunError`][] if it cannot be written; the older ones then stay.
        """
        self.save(f"{_named(step)}.safetensors", tree, metadata)
        self.prune(step if newest else None)

    def part_path(self, step: int) -> Path:
        """Where every process writes its part of the checkpoint of a step; the folder for it is created.

        **Raises:** [`noprop_ode.RunError`][] if that fails.
        """
        self._make_folder()
        return self.path(_named(step))

    def prune(self, newest: int | None = None) -> None:
        """Removes the checkpoints of steps after the `newest`, if one is given, and those beyond the newest few."""
        for found in self.steps():
            if newest is not None and _step_of(found) > newest:
                _remove(found)
        for old in self.steps()[self.keep :]:
            _remove(old)
        for unfinished in (self.folder / CHECKPOINTS).glob("step-*.orbax-checkpoint-tmp*"):
            _remove(unfinished)  # left by a run that was killed while it wrote

    def clear(self) -> None:
        """Removes all checkpoints of a run."""
        for path in (*self.steps(), self.path(BEST), self.path(EPOCH)):
            _remove(path)
        with contextlib.suppress(OSError):  # a file that is not ours is left alone, and its folder with it
            (self.folder / CHECKPOINTS).rmdir()

    def steps(self) -> list[Path]:
        """The checkpoints of steps, newest first."""
        return step_checkpoints(self.folder.path)

    def newest(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The newest checkpoint that is whole and a file; damaged ones are skipped with a warning.

        **Arguments:** `like`, a PyTree of the expected structure.

        **Returns:** the tree and its metadata, or `None` if there has been no checkpoint yet.

        **Raises:** [`noprop_ode.RunError`][] if there are checkpoints, but none is good.
        """
        problems = []
        for path in self.steps():
            if path.is_dir():
                continue
            try:
                return load_arrays(path, like), read_header(path)
            except (CheckpointError, FileNotFoundError) as error:
                problems.append(str(error))
                say(f"warning: {error} Trying the one before.")
        if problems:
            raise RunError(f"No checkpoint in {self.folder / CHECKPOINTS} can be used: {' '.join(problems)}")
        return None


def step_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of steps in the folder of a run, files or folders, newest first."""
    try:
        found = [path for path in (folder / CHECKPOINTS).iterdir() if _NAME.fullmatch(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=_step_of, reverse=True)


def step_header(path: Path) -> dict[str, Any]:
    """The metadata of a checkpoint of either kind.

    **Raises:** as [`noprop_ode.read_header`][].
    """
    return read_parts_header(path) if path.is_dir() else read_header(path)


def _named(step: int) -> str:
    return f"step-{step:08d}"


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _remove(path: Path) -> None:
    """Removes a checkpoint; if it is a link, only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
