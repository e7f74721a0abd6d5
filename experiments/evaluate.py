"""Evaluates the saved model of a run again: with the protocols of the run, or with one of your own.

python experiments/evaluate.py runs/digits-ct-seed0-00
python experiments/evaluate.py runs/digits-ct-seed0-00 --sampler heun --steps 20 --start noise --draws 8
python experiments/evaluate.py runs/digits-ct-seed0-00 --protocol paper --confusion --json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from noprop_ode import predict
from noprop_ode.experiment import (
    ConfigError,
    build_prediction,
    confusion_matrix,
    evaluate_protocols,
    evaluation_key,
    guarded,
    load_data,
    load_model,
    print_table,
    protocols,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument("--protocol", nargs="+", help="names of protocols, besides the default")
    parser.add_argument("--sampler", help="a sampler: ode, adaptive, ancestral, ddim, sde, or an ODE solver by name")
    parser.add_argument("--steps", type=int, help="its number of steps")
    parser.add_argument("--early-exit", type=float, help="class probability at which to stop")
    parser.add_argument("--start", choices=("noise", "mean"))
    parser.add_argument("--decoder", choices=("denoiser", "readout", "posterior"))
    parser.add_argument("--draws", type=int, help="trajectories to average")
    parser.add_argument("--best", action="store_true", help="the model with the best validation accuracy")
    parser.add_argument("--confusion", action="store_true", help="print the confusion matrix of the default, too")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--data-dir", type=Path, help="where prepared data sets are, if not where the run found them")
    args = parser.parse_args()
    guarded(lambda: evaluate(args))


def evaluate(args: argparse.Namespace) -> None:
    model, config, spec = load_model(args.run, best=args.best)
    changes = own_prediction(args)
    if changes:
        config = config.replace(prediction={**changes, "protocols": args.protocol or []})
    elif args.protocol:
        config = config.replace(prediction={"protocols": args.protocol})
    if args.data_dir:
        config = config.replace(data={"dir": str(args.data_dir)})
    how = protocols(config, model, build_prediction(config, model, spec))
    test, key = load_data(config).test, evaluation_key(config)
    results: dict[str, Any] = evaluate_protocols(model, test, key=key, how=how)
    matrix = None
    if args.confusion:
        predicted = np.asarray(predict(model, test.images, key=key, **how["default"]))
        matrix = confusion_matrix(predicted, test.labels, test.num_classes)
    if args.json:
        print(json.dumps({"protocols": results, "confusion": None if matrix is None else matrix.tolist()}, indent=1))
        return
    print_table(results)
    if matrix is not None:
        width = max(map(len, test.class_names)) + 1
        print("\nrows: true class; columns: predicted, in the same order")
        for name, row in zip(test.class_names, matrix):
            print(f"{name:{width}s}" + "".join(f"{count:6d}" for count in row))
    print(f"test_accuracy={results['default']['accuracy']:.4f}")


def own_prediction(args: argparse.Namespace) -> dict[str, Any]:
    """The `prediction` settings that the command line changes."""
    changes = {k: v for k in ("start", "decoder", "draws") if (v := getattr(args, k)) is not None}
    settings = {k: v for k in ("steps", "early_exit") if (v := getattr(args, k)) is not None}
    if args.sampler is not None:
        solvers = ("euler", "heun", "midpoint", "ralston", "bosh3", "dopri5", "tsit5")
        if args.sampler in solvers:
            kind = {"type": "ode" if args.steps or args.sampler != "tsit5" else "adaptive", "solver": args.sampler}
        else:
            kind = {"type": args.sampler}
        changes["sampler"] = {**kind, **settings}
    elif settings:
        raise ConfigError("--steps and --early-exit belong to a --sampler; name one, such as --sampler heun.")
    return changes


if __name__ == "__main__":
    main()
