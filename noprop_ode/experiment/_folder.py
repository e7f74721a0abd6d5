import fcntl
import itertools
import json
from pathlib import Path
from typing import Any

from ._checkpoint import write_atomically
from ._errors import RunError


class RunFolder:
    """The folder of one run, locked while the run is at it."""

    def __init__(self, path: Path):
        """**Arguments:** `path`, made if it does not exist.

        **Raises:** `RunError` if it cannot be made or written, or if another run is writing to it.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = open(path / "lock", "a")
        except OSError as error:
            raise RunError(f"Cannot write to the output folder {path}: {error.strerror}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise RunError(
                f"Another run is writing to {path} at this moment; wait for it, or choose another output.dir."
            ) from error

    @staticmethod
    def new(stem: str) -> "RunFolder":
        """A folder of its own below runs/, numbered."""
        for number in itertools.count():
            path = Path("runs") / f"{stem}-{number:02d}"
            try:
                path.mkdir(parents=True)
                return RunFolder(path)
            except FileExistsError:
                continue
            except OSError as error:
                raise RunError(f"Cannot make the output folder {path}: {error.strerror}.") from error
        raise AssertionError("unreachable")

    def remove_leftovers(self) -> None:
        """Removes half-written files of a run that was killed; the lock says that nobody is writing them now."""
        for pattern in (".*", "checkpoints/.*"):
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Gives the folder free."""
        self._lock.close()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def holds_a_run(self) -> bool:
        """Whether a run was begun here."""
        return (self / "config.yaml").exists()

    @property
    def is_finished(self) -> bool:
        """Whether a run was completed here."""
        return (self / "summary.json").exists()

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file, atomically.

        **Raises:** `RunError` if that fails.
        """
        write_atomically(self / name, lambda file: file.write(text.encode()))

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Writes a JSON file, atomically.

        **Raises:** `RunError` if that fails.
        """
        self.write_text(name, json.dumps(values, indent=2) + "\n")
