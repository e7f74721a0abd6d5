"""A run of the table: its settings, and the command that starts or resumes it."""

import contextlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .._command_line import configured
from .._config import Config
from .._errors import ConfigError, RunError
from .._overrides import parse_overrides
from .._recipes import read_yaml
from .._run_folder import ELSEWHERE, differences
from .._saved import CONFIG_FILE, finished_epochs
from ._rows import Row


_COMMAND = [sys.executable, "-c", "from noprop_ode.experiment import console; console()", "train"]


class Job(NamedTuple):
    """A run: a row with settings and a seed, overrides such as `["--epochs", "3"]`, and the folder it is in."""

    row: Row
    settings: str
    seed: int
    overrides: tuple[str, ...]
    folder: Path

    @property
    def arguments(self) -> list[str]:
        """Its settings, as arguments of `noprop-ode train`."""
        return [*self.row.arguments(self.settings), *self.overrides, "--training.seed", str(self.seed)]

    @property
    def config(self) -> Config:
        """Its settings, complete; those in the folder of a run may be older, and a file that anybody can change."""
        name, *flags = self.arguments
        return configured(name, None, parse_overrides(flags))

    @property
    def command(self) -> list[str]:
        """The command that starts the run, or resumes it."""
        if not (self.folder / CONFIG_FILE).exists():
            return [*_COMMAND, *self.arguments, "--output.dir", str(self.folder)]
        trust = ["--trust-imports"] if self.trusted else []
        data = ["--data-dir", self.data_dir] if self.data_dir else []
        return [*_COMMAND, "--resume", str(self.folder), *trust, *data]

    @property
    def data_dir(self) -> str:
        """The data folder from the command line; empty if there is none."""
        return ["", *(text for name, text in parse_overrides(self.overrides) if name == "data.dir")][-1]

    @property
    def trusted(self) -> bool:
        """Whether it imports code that the command line names."""
        return any(name == "imports" for name, _ in parse_overrides(self.overrides))

    @property
    def finished(self) -> bool:
        """Whether it is trained and evaluated, for as many epochs as its settings say."""
        return 0 < self._epochs() <= finished_epochs(self.folder)

    def check(self) -> None:
        """Refuses a folder that holds a run with other settings.

        **Raises:** `ConfigError`.
        """
        for name, _ in parse_overrides(self.overrides):
            if name.split(".")[-1] == "seed" or name in ("output.dir", "seeds"):
                raise ConfigError(f"--{name}: seeds are chosen by --seeds and the folder by --out, before the --.")
        config = self.config
        if not (self.folder / CONFIG_FILE).exists():
            return
        try:
            other = differences(read_yaml(self.folder / CONFIG_FILE), config, ELSEWHERE)
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{self.folder / CONFIG_FILE} cannot be read: {type(error).__name__}.") from error
        if other:
            raise ConfigError(
                f"The run at {self.folder} has other settings: {', '.join(other)}. Give those that it began with, or "
                "another --out."
            )

    def _epochs(self) -> int:
        with contextlib.suppress(OSError, ConfigError, KeyError, TypeError, ValueError):
            return int(read_yaml(self.folder / CONFIG_FILE)["training"]["epochs"])
        return 0


def jobs(rows: Iterable[Row], settings: str, seeds: Sequence[int], overrides: Sequence[str], out: Path) -> list[Job]:
    """The runs of some rows, all rows with the first seed before any with the second.

    **Arguments:** the rows, `paper`, `ours` or `fast`, the seeds, overriding settings, and the folder of all runs.
    """
    return [
        Job(row, settings, seed, tuple(overrides), out / "-".join((settings, *row, f"seed{seed}")))
        for seed in seeds
        for row in rows
    ]
