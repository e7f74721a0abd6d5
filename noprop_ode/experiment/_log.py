import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import jax

from .. import __version__
from ._checkpoint import write_atomically
from ._errors import ConfigError, RunError


class JsonLines:
    """Records in a file, one JSON object a line."""

    def __init__(self, path: Path, *, keep: int = 0):
        """**Arguments:**

        - `path`: the file.
        - `keep`: how many of its records to keep; later ones are about to be made again.

        **Raises:** `RunError` if the file cannot be written.
        """
        self.path = path
        kept = read_records(path)[:keep] if keep else []
        text = "".join(json.dumps(r) + "\n" for r in kept)
        write_atomically(path, lambda file: file.write(text.encode()))
        self._file = open(path, "a", encoding="utf-8")

    def write(self, kind: str, values: dict[str, Any]) -> None:
        """Adds a record.

        **Raises:** `RunError` if the disk is full.
        """
        try:
            self._file.write(json.dumps({"kind": kind, **values}) + "\n")
            self._file.flush()
        except OSError as error:
            raise RunError(f"Could not write {self.path}: {error.strerror}.") from error

    def close(self) -> None:
        """Closes the file."""
        try:
            self._file.close()
        except OSError:
            pass  # what could not be written was reported by `write`


class TensorBoard:
    """The same records as TensorBoard scalars."""

    def __init__(self, folder: Path):
        """**Arguments:** `folder`, of the run.

        **Raises:** `ConfigError` if tensorboardX is not installed.
        """
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                'output.tensorboard needs tensorboardX: pip install "noprop_ode[tensorboard]".'
            ) from error
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, kind: str, values: dict[str, Any]) -> None:
        """Adds the numbers of a record."""
        for name, value in values.items():
            if isinstance(value, int | float) and name not in ("step", "epoch"):
                self._writer.add_scalar(f"{kind}/{name}", value, values.get("step", 0))

    def close(self) -> None:
        """Closes the files."""
        self._writer.close()


class WeightsAndBiases:
    """The same records for Weights & Biases; offline unless WANDB_MODE says otherwise."""

    def __init__(self, folder: Path, config: dict[str, Any]):
        """**Arguments:** `folder`, of the run, and its settings.

        **Raises:** `ConfigError` if wandb is not installed.
        """
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ConfigError('output.wandb needs wandb: pip install "noprop_ode[wandb]".') from error
        mode = os.environ.get("WANDB_MODE", "offline")
        self._run = wandb.init(project="noprop_ode", name=folder.name, dir=str(folder), config=config, mode=mode)

    def write(self, kind: str, values: dict[str, Any]) -> None:
        """Adds a record."""
        numbers = {f"{kind}/{k}": v for k, v in values.items() if isinstance(v, int | float)}
        self._run.log(numbers, step=values.get("step"))

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a file that `JsonLines` wrote; a last line that was cut off is left out.

    **Arguments:** `path`. **Returns:** the records; none if there is no file.
    """
    records = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what it stands on."""
    names = ("jax", "jaxlib", "equinox", "diffrax", "optax", "jaxtyping", "beartype", "numpy")
    ours = {"python": platform.python_version(), "noprop_ode": __version__}
    return ours | {name: importlib.metadata.version(name) for name in names}


def device() -> dict[str, Any]:
    """The device that JAX computes on."""
    first = jax.devices()[0]
    return {"platform": first.platform, "kind": first.device_kind, "count": jax.device_count()}
