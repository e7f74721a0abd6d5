import re
import sys
from pathlib import Path
from typing import Any

from ._checkpoint import CheckpointError, load_arrays, read_header, save_arrays
from ._errors import RunError


_NAME = re.compile(r"step-(\d{8,})\.noprop")


class CheckpointStore:
    """The checkpoints of a run: the newest few in `checkpoints/`."""

    def __init__(self, folder: Path, *, keep: int):
        """**Arguments:**

        - `folder`: of the run.
        - `keep`: how many to keep.
        """
        self.folder = folder / "checkpoints"
        self.keep = keep

    def save(self, step: int, tree: Any, metadata: dict[str, Any]) -> Path:
        """Writes a checkpoint, then removes those beyond the newest few.

        **Raises:** `RunError` if it cannot be written; the older ones then stay.
        """
        path = self.folder / f"step-{step:08d}.noprop"
        save_arrays(path, tree, metadata)
        for old in self.paths()[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def discard_after(self, step: int) -> None:
        """Removes the checkpoints of later steps."""
        for path in self.paths():
            if int(path.stem.removeprefix("step-")) > step:
                path.unlink(missing_ok=True)

    def paths(self) -> list[Path]:
        """The checkpoints, newest first."""
        try:
            found = [p for p in self.folder.iterdir() if _NAME.fullmatch(p.name)]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda p: int(p.stem.removeprefix("step-")), reverse=True)

    def load_newest(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The newest checkpoint that is whole; damaged ones are passed over with a warning.

        **Arguments:** `like`, a PyTree of the expected structure.

        **Returns:** the tree and its metadata, or `None` if there has been no checkpoint yet.

        **Raises:** `RunError` if there are checkpoints, and none is good.
        """
        paths, problems = self.paths(), []
        for path in paths:
            try:
                return load_arrays(path, like), read_header(path)
            except (CheckpointError, FileNotFoundError) as error:
                problems.append(str(error))
                print(f"warning: {error} Trying the one before.", file=sys.stderr)
        if problems:
            raise RunError(f"No checkpoint in {self.folder} can be used: {' '.join(problems)}")
        return None
