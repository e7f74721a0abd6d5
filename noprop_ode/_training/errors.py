"""What can go wrong with a run and its files."""

from typing import Any


class RunError(RuntimeError):
    """A run cannot be started, continued or read."""


class SettingsError(ValueError):
    """Arguments of training that are out of range or do not go together."""


class CheckpointError(ValueError):
    """A file is not a checkpoint of this package, is damaged, or does not fit what it is loaded into."""


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal, such as Ctrl-C. It is a `KeyboardInterrupt`, which `except Exception` lets pass. A
    run with a folder has been saved. `state` is the last [`noprop_ode.TrainState`][], or `None` if the run was already
    done, `exit_code` is 128 plus the number of the signal, and `signal` its name."""

    def __init__(self, name: str, exit_code: int, state: Any = None, *, way_on: str = ""):
        KeyboardInterrupt.__init__(self, f"{name}: {way_on}" if way_on else name)
        self.signal = name
        self.exit_code = exit_code
        self.state = state


class FolderLostError(RunError):
    """The folder of a run was removed or renamed while the run was writing to it."""
