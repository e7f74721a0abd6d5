"""One line and an exit code for the errors of a command."""

import sys
from collections.abc import Callable
from typing import Any

from .. import CheckpointError, Interrupted, NonFiniteLossError, SolverError, data, keep_freed_memory
from .._training.errors import SettingsError
from ._collector import collect_less_often
from ._errors import ConfigError, RunError
from ._programs import keep_programs
from ._random_numbers import compile_random_numbers_fast


# Errors whose message says everything.
_PLAIN = (
    CheckpointError,
    ConfigError,
    data.DatasetError,
    FloatingPointError,
    OSError,
    RunError,
    SettingsError,
    SolverError,
)


def guarded(command: Callable[[], Any]) -> None:
    """Runs a command, and turns errors that a user can cause into one line and an exit code."""
    collect_less_often()
    keep_freed_memory()
    keep_programs()
    compile_random_numbers_fast()
    try:
        command()
    except BrokenPipeError:  # an OSError, so before the next
        sys.exit(1)
    except _PLAIN as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except NonFiniteLossError as error:
        print(f"error: {error} The last good state is the newest checkpoint of the run.", file=sys.stderr)
        sys.exit(1)
    except Interrupted as stop:
        print(f"stopped by {stop.signal}", file=sys.stderr)
        sys.exit(stop.exit_code)
    except KeyboardInterrupt:  # outside of training, where there is nothing to save
        print("stopped by SIGINT", file=sys.stderr)
        sys.exit(130)
