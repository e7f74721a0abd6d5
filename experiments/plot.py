"""Plots of one or more runs, into the folder of the first.

    python experiments/plot.py runs/digits-ct-seed0-00
    python experiments/plot.py runs/digits-ct-seed0-00 runs/digits-fm-seed0-00 --format svg
    python experiments/plot.py runs/digits-ct-seed0-00 --only cost trajectories --images 3 14 15

Of several runs: their learning curves. Of the first: accuracy against evaluations of the vector field for each sampler,
the schedule, class probabilities along t for chosen images, prototypes where the embedding has any, and the confusion
matrix.
"""

import argparse
from pathlib import Path

from noprop_ode.experiment import guarded, plot_runs


KINDS = ("learning", "cost", "schedule", "trajectories", "prototypes", "confusion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="output folders of runs")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="which plots")
    parser.add_argument("--images", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5], help="test images by position")
    parser.add_argument("--format", choices=("png", "svg"), default="png")
    parser.add_argument("--out", type=Path, help="folder for the plots; that of the first run if not given")
    parser.add_argument("--data-dir", type=Path, help="where prepared data sets are, if not where the run found them")
    args = parser.parse_args()

    def command() -> None:
        out = args.out or args.runs[0]
        out.mkdir(parents=True, exist_ok=True)
        for path in plot_runs(
            args.runs, out, kinds=args.only, indices=args.images, suffix=args.format, data_dir=args.data_dir
        ):
            print(path)

    guarded(command)


if __name__ == "__main__":
    main()
