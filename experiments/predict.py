"""Classifies image files with the saved model of a run.

    python experiments/predict.py runs/cifar10-ct-seed0-00 cat.png photos/ --top 3
    python experiments/predict.py runs/cifar10-ct-seed0-00 photos/ --format csv > classes.csv

Images are brought to the size and the channels of the training set; colours are not changed otherwise, so for MNIST
write white on black.
"""

import argparse
from pathlib import Path

from noprop_ode.experiment import classify_files, format_predictions, guarded, load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument("images", type=Path, nargs="+", help="PNG or JPEG files, or folders of them")
    parser.add_argument("--top", type=int, default=3, help="classes to show for each image")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")
    parser.add_argument("--best", action="store_true", help="the model with the best validation accuracy")
    args = parser.parse_args()

    def command() -> None:
        model, config, spec = load_model(args.run, best=args.best)
        print(format_predictions(classify_files(model, config, spec, args.images, top=args.top), args.format))

    guarded(command)


if __name__ == "__main__":
    main()
