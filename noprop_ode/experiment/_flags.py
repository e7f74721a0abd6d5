"""The flags that the experiment scripts share."""

import argparse
from collections.abc import Callable
from pathlib import Path

from .. import RunFolder
from .._training.store import step_checkpoints
from ._main import guarded
from ._saved import MODEL_FILE


def flags(
    main: Callable[[argparse.Namespace], object],
    description: str | None,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    arguments: list[str] | None = None,
) -> None:
    """Runs the function of a script with its flags; what can go wrong for its user becomes one line and an exit code.

    **Arguments:**

    - `main`: takes `epochs`, `batch_size`, `learning_rate`, `seed`, `data_dir`, `out` (a locked
        [`noprop_ode.RunFolder`][]) and `resume`.
    - `description`: what `--help` says, usually `__doc__`.
    - `epochs`, `batch_size`, `learning_rate`: defaults.
    - `arguments`: of the command line; those of the process if not given.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=epochs, help=f"{epochs} by default")
    parser.add_argument("--batch-size", type=int, default=batch_size, help=f"images in a step; {batch_size} by default")
    parser.add_argument("--learning-rate", type=float, default=learning_rate, help=f"its peak; {learning_rate:g}")
    parser.add_argument("--seed", type=int, default=0, help="of initialisation, data order, noise and validation split")
    parser.add_argument("--data-dir", type=Path, help="where prepared data sets are; TFDS_DATA_DIR if not given")
    parser.add_argument("--out", type=Path, help="folder for checkpoints, metrics and model; a new one below runs/")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder --out, if there is one")
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
            if not step_checkpoints(folder.path):
                folder.claim([MODEL_FILE])  # which the script writes at the end; `fit` claims the rest
            args.out = folder
            main(args)

    guarded(command)
