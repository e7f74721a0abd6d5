"""What can go wrong with a run and its files."""

from typing import Any


class RunError(RuntimeError):
    """A run cannot be started, continued or read."""


class SettingsError(ValueError):
    """Arguments of training that are out of range or do not go together."""


class CheckpointError(ValueError):
    """A file is not a checkpoint of this package, is damaged, or does not fit what it is loaded into."""


class Interrupted(Exception):
    """A run was stopped by a signal, such as Ctrl-C; raised in place of `KeyboardInterrupt`. A run with a folder has
    been saved. `state` is the last [`noprop_ode.TrainState`][], or `None` if the run was already done, and `exit_code`
    is 128 plus the number of the signal."""

    def __init__(self, name: str, exit_code: int, state: Any = None):
        Exception.__init__(self, name)
        self.exit_code = exit_code
        self.state = state


class FolderLostError(RunError):
    """The folder of a run was removed or renamed while the run was writing to it."""
