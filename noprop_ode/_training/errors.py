"""What can go wrong with a run and its files."""


class RunError(RuntimeError):
    """A run cannot be started, continued or read."""


class SettingsError(ValueError):
    """Arguments of training that do not go together."""


class CheckpointError(ValueError):
    """A file is not a checkpoint of ours, is damaged, or does not fit what it is loaded into."""


class Interrupted(Exception):
    """A run was asked to stop by a signal, and has saved itself; `exit_code` is 128 and the number of the signal."""

    def __init__(self, name: str, exit_code: int):
        Exception.__init__(self, name)
        self.exit_code = exit_code


class FolderLostError(RunError):
    """The folder of a run was removed or renamed while the run was writing to it."""
