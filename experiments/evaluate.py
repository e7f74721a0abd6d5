"""Evaluates the saved model of a run again: with the protocols of the run, or with one of your own.

python experiments/evaluate.py runs/digits_ct-seed0-00
python experiments/evaluate.py runs/digits_ct-seed0-00 --sampler heun --steps 20 --start noise --draws 8
python experiments/evaluate.py runs/digits_ct-seed0-00 --split validation --protocol paper --confusion --json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from noprop_ode import predict
from noprop_ode.experiment import (
    add_prediction_flags,
    add_run_flags,
    check_data,
    confusion_matrix,
    evaluate_protocols,
    evaluation_key,
    guarded,
    load_data,
    open_run,
    prediction_changes,
    print_table,
    printable,
    protocols,
    say,
    split_of,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument("--protocol", nargs="+", help="names of protocols, besides the default")
    parser.add_argument(
        "--split", choices=("validation", "test"), default="test", help="the images; choose on validation"
    )
    parser.add_argument("--confusion", action="store_true", help="print the confusion matrix of the default, too")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_prediction_flags(parser)
    add_run_flags(parser)
    args = parser.parse_args()
    guarded(lambda: evaluate(args))


def evaluate(args: argparse.Namespace) -> None:
    changes = prediction_changes(args)
    if changes or args.protocol:
        changes["protocols"] = args.protocol or []
    model, config, spec = open_run(
        args.run, best=args.best, trust_imports=args.trust_imports, data_dir=args.data_dir, prediction=changes
    )
    how = protocols(config, model, spec)
    images, key = check_data(split_of(load_data(config), args.split), spec), evaluation_key(config)
    results: dict[str, Any] = evaluate_protocols(model, images, key=key, how=how)
    matrix = None
    if args.confusion:
        predicted = np.asarray(predict(model, images.images, key=key, prediction=how["default"]))
        matrix = confusion_matrix(predicted, images.labels, images.num_classes)
    if args.json:
        found = {
            "split": args.split,
            "class_names": images.class_names,
            "protocols": results,
            "confusion": None if matrix is None else matrix.tolist(),
        }
        say(json.dumps(found, indent=1))
        return
    print_table(results)
    if matrix is not None:
        names = [printable(name) for name in images.class_names]
        width = max(map(len, names)) + 1
        say("\nrows: true class; columns: predicted, in the same order")
        for name, row in zip(names, matrix):
            say(f"{name:{width}s}" + "".join(f"{count:6d}" for count in row))
    say(f"{args.split}_accuracy={results['default']['accuracy']:.4f}")


if __name__ == "__main__":
    main()
