"""What can go wrong with a run and its files."""

from typing import Any


class RunError(RuntimeError):
    """A run cannot be started, continued or read."""


class SettingsError(ValueError):
    """Arguments of training that do not go together."""


class CheckpointError(ValueError):
    """A file is not a checkpoint of ours, is damaged, or does not fit what it is loaded into."""


class Interrupted(Exception):
    """A run was asked to stop by a signal, Ctrl-C among them, in place of `KeyboardInterrupt`. With a folder it has
    saved itself. `state` is the [`noprop_ode.TrainState`][] that it had, `None` if it was through, and `exit_code` 128
    and the number of the signal."""

    def __init__(self, name: str, exit_code: int, state: Any = None):
        Exception.__init__(self, name)
        self.exit_code = exit_code
        self.state = state


class FolderLostError(RunError):
    """The folder of a run was removed or renamed while the run was writing to it."""
