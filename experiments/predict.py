"""Classifies image files with the saved model of a run.

    python experiments/predict.py runs/cifar10_ct-seed0-00 cat.png photos/ --top 3
    python experiments/predict.py runs/cifar10_ct-seed0-00 photos/ --format csv > classes.csv
    python experiments/predict.py runs/cifar10_ct-seed0-00 cat.png --sampler heun --steps 20 --start noise --draws 8

Images are brought to the size and the channels of the training set; colours are not changed otherwise, so for MNIST
write white on black. A file that cannot be read is passed over with a warning, and the exit code is then 1.
"""

import argparse
import sys
from pathlib import Path

from noprop_ode.experiment import (
    add_prediction_flags,
    add_run_flags,
    classify_files,
    format_predictions,
    guarded,
    open_run,
    prediction_changes,
    say,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument(
        "images", type=Path, nargs="+", help="PNG, JPEG, GIF, BMP, TIFF or WebP files, or folders that hold such files"
    )
    parser.add_argument("--top", type=int, default=3, help="classes to show for each image")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
    add_prediction_flags(parser)
    add_run_flags(parser)
    args = parser.parse_args()
    guarded(lambda: predict(args))


def predict(args: argparse.Namespace) -> None:
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


if __name__ == "__main__":
    main()
