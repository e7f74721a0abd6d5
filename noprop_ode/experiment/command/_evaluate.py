"""The command `noprop-ode evaluate`."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import predict
from .._build import protocols
from .._data import load_data
from .._evaluate import evaluate_protocols, evaluation_key, print_table
from .._main import guarded
from ..report import (
    add_prediction_flags,
    add_run_flags,
    check_data,
    confusion_matrix,
    open_run,
    prediction_changes,
    printable,
    say,
    split_of,
)
from ._parser import parser_of


_ABOUT = """Evaluates the saved model of a run again: with the protocols of the run, or with one of your own.

    %(prog)s runs/digits_ct-seed0-00
    %(prog)s runs/digits_ct-seed0-00 --sampler heun --steps 20 --start noise --draws 8
    %(prog)s runs/digits_ct-seed0-00 --split validation --protocol paper --confusion --json
"""


def evaluate_command(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> None:
    """The command `noprop-ode evaluate`: a saved model on the data of its run.

    **Arguments:** `arguments` of the command line, those of the process if not given; and `prog`, the name of the
    command in its help.
    """
    parser = parser_of(_ABOUT, prog)
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument("--protocol", nargs="+", help="names of protocols, in addition to the default")
    parser.add_argument(
        "--split", choices=("validation", "test"), default="test", help="the images; use validation to make choices"
    )
    parser.add_argument("--confusion", action="store_true", help="also print the confusion matrix of the default")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_prediction_flags(parser)
    add_run_flags(parser)
    args = parser.parse_args(arguments)
    guarded(lambda: _evaluate(args))


def _evaluate(args: argparse.Namespace) -> None:
    changes = prediction_changes(args)
    if changes or args.protocol:
        changes["protocols"] = args.protocol or "none"
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
