"""Plots of one or more runs, into the folder of the first.

    python experiments/plot.py runs/digits_ct-seed0-00
    python experiments/plot.py runs/digits_ct-seed0-00 runs/digits_fm-seed0-00 --format svg
    python experiments/plot.py runs/digits_ct-seed0-00 --only cost trajectories --images 3 14 15

Of several runs: their learning curves, by what differs in their settings; those that differ in the seed alone are one
curve with a band. Of the first: the schedule, prototypes where the embedding has any, class probabilities along t for
some images, the confusion matrix, and accuracy against evaluations of the vector field for each sampler.
"""

import argparse
from pathlib import Path

from noprop_ode.experiment import add_run_flags, guarded, plot_runs, printable, say


KINDS = ("learning", "schedule", "prototypes", "trajectories", "confusion", "cost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="output folders of runs")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="which plots")
    parser.add_argument(
        "--images", type=int, nargs="+", help="images by position; some that are sure, torn and wrong if not given"
    )
    parser.add_argument(
        "--split",
        choices=("validation", "test"),
        help="what to draw on; if not given, the cost on the validation split and the rest on the test set",
    )
    parser.add_argument("--format", choices=("png", "svg"), default="png")
    parser.add_argument("--out", type=Path, help="folder for the plots; that of the first run if not given")
    add_run_flags(parser)
    args = parser.parse_args()

    def command() -> None:
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

    guarded(command)


if __name__ == "__main__":
    main()
