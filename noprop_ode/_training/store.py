"""The checkpoints of a run."""

import re
import sys
from pathlib import Path
from typing import Any

from .checkpoint import load_arrays, read_header, save_arrays
from .errors import CheckpointError, RunError
from .folder import CHECKPOINTS, RunFolder


_NAME = re.compile(r"step-(\d{8,})\.safetensors")
BEST, EPOCH = "best.safetensors", "epoch.safetensors"


class CheckpointStore:
    """The newest few checkpoints of a run, in `checkpoints/`, and those with a name of their own beside them."""

    def __init__(self, folder: RunFolder, *, keep: int):
        """**Arguments:**

        - `folder`: of the run.
        - `keep`: how many to keep.
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
        self.folder.check()
        try:
            (self.folder / CHECKPOINTS).mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"Could not make {self.folder / CHECKPOINTS}: {error.strerror}.") from error
        save_arrays(self.path(name), tree, metadata)

    def save_step(self, step: int, tree: Any, metadata: dict[str, Any]) -> None:
        """Writes the checkpoint of a step, then removes those beyond the newest few.

        **Raises:** [`noprop_ode.RunError`][] if it cannot be written; the older ones then stay.
        """
        self.save(f"step-{step:08d}.safetensors", tree, metadata)
        for old in self.steps()[self.keep :]:
            old.unlink(missing_ok=True)

    def discard_from(self, step: int) -> None:
        """Removes the checkpoints of this step and later ones."""
        for path in self.steps():
            if _step_of(path) >= step:
                path.unlink(missing_ok=True)

    def steps(self) -> list[Path]:
        """The checkpoints of steps, newest first."""
        try:
            found = [p for p in (self.folder / CHECKPOINTS).iterdir() if _NAME.fullmatch(p.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found, key=_step_of, reverse=True)

    def newest(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The newest checkpoint that is whole; damaged ones are passed over with a warning.

        **Arguments:** `like`, a PyTree of the expected structure.

        **Returns:** the tree and its metadata, or `None` if there has been no checkpoint yet.

        **Raises:** [`noprop_ode.RunError`][] if there are checkpoints, and none is good.
        """
        problems = []
        for path in self.steps():
            try:
                return load_arrays(path, like), read_header(path)
            except (CheckpointError, FileNotFoundError) as error:
                problems.append(str(error))
                print(f"warning: {error} Trying the one before.", file=sys.stderr)
        if problems:
            raise RunError(f"No checkpoint in {self.folder / CHECKPOINTS} can be used: {' '.join(problems)}")
        return None


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))
