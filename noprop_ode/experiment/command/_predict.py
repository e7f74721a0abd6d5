"""The command `noprop-ode predict`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .._main import guarded
from ..report import (
    add_prediction_flags,
    add_run_flags,
    classify_files,
    format_predictions,
    open_run,
    prediction_changes,
    say,
)
from ._parser import parser_of


_ABOUT = """Classifies image files with the saved model of a run.

    %(prog)s runs/cifar10_ct-seed0-00 cat.png photos/ --top 3
    %(prog)s runs/cifar10_ct-seed0-00 photos/ --format csv > classes.csv
    %(prog)s runs/cifar10_ct-seed0-00 cat.png --sampler heun --steps 20 --start noise --draws 8

Images are converted to the size and the channels of the training set; colours are not changed otherwise, so for MNIST
use white on black. A file that cannot be read is skipped with a warning, and the exit code is then 1.
"""


def predict_command(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> None:
    """The command `noprop-ode predict`: the classes of image files.

    **Arguments:** as for [`noprop_ode.experiment.evaluate_command`][].
    """
    parser = parser_of(_ABOUT, prog)
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument(
        "images",
        type=Path,
        nargs="+",
        help="PNG, JPEG, GIF, BMP, TIFF, WebP or PPM files, or folders of such files",
    )
    parser.add_argument("--top", type=int, default=3, help="classes to show per image")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
    add_prediction_flags(parser)
    add_run_flags(parser)
    args = parser.parse_args(arguments)
    guarded(lambda: _predict(args))


def _predict(args: argparse.Namespace) -> None:
    run = open_run(
        args.run,
        best=args.best,
        trust_imports=args.trust_imports,
        data_dir=args.data_dir,
        prediction=prediction_changes(args),
    )
    found = classify_files(*run, args.images, top=args.top)
    errors = [f.error for f in found if f.error is not None]
    for error in errors:
        print(f"warning: {error}", file=sys.stderr)
    say(format_predictions(found, args.format))
    if errors:
        sys.exit(1)
