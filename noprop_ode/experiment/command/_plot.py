"""The command `noprop-ode plot`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .._main import guarded
from ..report import add_run_flags, plot_runs, printable, say
from ..report._plot_runs import KINDS
from ._parser import parser_of


_ABOUT = """Draws plots of one or more runs, into the folder of the first.

    %(prog)s runs/digits_ct-seed0-00
    %(prog)s runs/digits_ct-seed0-00 runs/digits_fm-seed0-00 --format svg
    %(prog)s runs/digits_ct-seed0-00 --only cost trajectories --images 3 14 15

For several runs: their learning curves, labelled by what differs in their settings; those that differ only in the seed
are one curve with a band. For the first: the schedule, prototypes if the embedding has any, class probabilities along t
for some images, the confusion matrix, and accuracy against evaluations of the vector field for each sampler.
"""


def plot_command(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> None:
    """The command `noprop-ode plot`: plots of runs.

    **Arguments:** as for [`noprop_ode.experiment.evaluate_command`][].
    """
    parser = parser_of(_ABOUT, prog)
    parser.add_argument("runs", type=Path, nargs="+", help="output folders of runs, or of several seeds")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="which plots")
    parser.add_argument(
        "--images", type=int, nargs="+", help="positions of images; if not given, some that are sure, torn and wrong"
    )
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        help="the data to plot; if not given, the validation split for the cost and the test set for the rest",
    )
    parser.add_argument("--format", choices=("png", "svg"), default="png")
    parser.add_argument("--out", type=Path, help="folder for the plots; that of the first run if not given")
    add_run_flags(parser)
    args = parser.parse_args(arguments)
    guarded(lambda: _plot(args))


def _plot(args: argparse.Namespace) -> None:
    for path in plot_runs(
        args.runs,
        args.out or args.runs[0],
        kinds=args.only,
        indices=args.images,
        suffix=args.format,
        split=args.split,
        data_dir=args.data_dir,
        best=args.best,
        trust_imports=args.trust_imports,
    ):
        say(printable(path))
