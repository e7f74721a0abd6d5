"""The flags that the experiment scripts share."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import RunFolder
from .._training.store import step_checkpoints
from ._errors import ConfigError
from ._main import guarded
from ._saved import CONFIG_FILE, MODEL_FILE


def flags(
    main: Callable[[argparse.Namespace], object],
    description: str | None,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    arguments: list[str] | None = None,
) -> None:
    """Runs the function of a script with its flags; errors that a user can cause become one line and an exit code.

    **Arguments:**

    - `main`: takes `epochs`, `batch_size`, `learning_rate`, `seed`, `data_dir`, `out` (a locked
        [`noprop_ode.RunFolder`][]) and `resume`.
    - `description`: what `--help` says, usually `__doc__`.
    - `epochs`, `batch_size`, `learning_rate`: defaults.
    - `arguments`: of the command line; those of the process if not given.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=epochs, help=f"epochs of training; default {epochs}")
    parser.add_argument("--batch-size", type=int, default=batch_size, help=f"images per step; default {batch_size}")
    parser.add_argument("--learning-rate", type=float, default=learning_rate, help=f"peak; default {learning_rate:g}")
    parser.add_argument("--seed", type=int, default=0, help="of initialisation, data order, noise and validation split")
    parser.add_argument("--data-dir", type=Path, help="folder of prepared data sets; TFDS_DATA_DIR if not given")
    parser.add_argument("--out", type=Path, help="folder for checkpoints, metrics and model; a new one below runs/")
    parser.add_argument("--resume", action="store_true", help="resume the run in the folder --out, if there is one")
    args = parser.parse_args(arguments)
    if min(args.epochs, args.batch_size) < 1 or not args.learning_rate > 0:
        parser.error("--epochs and --batch-size are at least 1, and --learning-rate is above 0.")
    if not 0 <= args.seed < 2**32:
        parser.error(f"--seed lies in [0, 2^32); got {args.seed}.")
    if args.resume and args.out is None:
        parser.error("--resume goes on with the run in a folder: name it by --out.")

    def command() -> None:
        stem = f"{Path(parser.prog).stem}-seed{args.seed}"
        with RunFolder.numbered(Path("runs"), stem) if args.out is None else RunFolder(args.out) as folder:
            new = not (checkpoints := step_checkpoints(folder.path))
            kept = folder / _FLAGS
            before = kept.read_bytes() if kept.is_file() else None
            if new:  # the script writes its model at the end; `fit` claims the rest
                folder.claim([MODEL_FILE] if _began(folder) else [MODEL_FILE, _FLAGS])
            elif args.resume:
                _refuse_others(folder, args)
            if new or args.resume:
                folder.write(_FLAGS, json.dumps({name: vars(args)[name] for name in _KEPT}).encode())
            args.out = folder
            try:
                main(args)
            except BaseException:
                # It failed to start, and a corrected one may start, with the flags that were here before.
                if (new or args.resume) and folder.is_there and step_checkpoints(folder.path) == checkpoints:
                    if before is None:
                        kept.unlink(missing_ok=True)
                    else:
                        folder.write(_FLAGS, before)
                raise

    guarded(command)


_FLAGS, _KEPT = "flags.json", ("epochs", "batch_size", "learning_rate", "seed")


def _began(folder: RunFolder) -> dict[str, Any] | None:
    """The flags that the run in a folder began with, if its file holds them."""
    try:
        found = json.loads((folder / _FLAGS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    mine = isinstance(found, dict) and tuple(found) == _KEPT
    return found if mine and all(type(value) in (int, float) for value in found.values()) else None


def _refuse_others(folder: RunFolder, args: argparse.Namespace) -> None:
    """Refuses flags other than those that the run began with; a finished one may be extended.

    **Raises:** `ConfigError`.
    """
    if (folder.path / CONFIG_FILE).exists():
        raise ConfigError(
            f"The run in {folder.path} is one of noprop-ode train, which goes on with it: noprop-ode train --resume "
            f"{folder.path}. Give this script another --out."
        )
    if (began := _began(folder)) is None:
        if (folder / _FLAGS).exists():
            raise ConfigError(
                f"{folder / _FLAGS} is not what a script writes there, and would be overwritten: move it elsewhere, "
                "and go on with the flags that the run began with."
            )
        return  # from a script that kept none
    other = [name for name in _KEPT if began[name] != vars(args)[name]]
    if other == ["epochs"] and args.epochs > began["epochs"] and (folder / MODEL_FILE).exists():
        return
    if other:
        told = ", ".join(f"--{name.replace('_', '-')} {began[name]} (now {vars(args)[name]})" for name in other)
        raise ConfigError(f"The run in {folder.path} began with {told}. Give that again, or another --out.")
