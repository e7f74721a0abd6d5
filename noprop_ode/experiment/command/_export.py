"""The command `noprop-ode export`."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from .._main import guarded
from ..report import add_run_flags, export_model, printable, say
from ._parser import parser_of


_ABOUT = """Exports the saved model of a run as a `jax.export` artefact, which predicts without this package.

    %(prog)s runs/digits_ct-seed0-00

It compares the artefact with the model on test images, and writes model.jax_export and model.json next to the model. To
use it, with only JAX and flatbuffers installed:

    predict = jax.export.deserialize(bytearray(open("model.jax_export", "rb").read())).call
    log_probabilities = predict(images)     # uint8 [n, height, width, channels] -> float32 [n, classes]
"""


def export_command(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> None:
    """The command `noprop-ode export`: a model that predicts without this package.

    **Arguments:** as for [`noprop_ode.experiment.evaluate_command`][].
    """
    parser = parser_of(_ABOUT, prog)
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument("--out", type=Path, help="folder for the artefact; that of the run if not given")
    parser.add_argument("--platforms", nargs="+", default=["cpu", "cuda", "tpu"], help="platforms to export for")
    add_run_flags(parser)
    args = parser.parse_args(arguments)
    guarded(lambda: _export(args))


def _export(args: argparse.Namespace) -> None:
    path, difference = export_model(
        args.run,
        args.out or args.run,
        platforms=args.platforms,
        best=args.best,
        trust_imports=args.trust_imports,
        data_dir=args.data_dir,
    )
    compared = "not compared with the live model, because it does not run on this device"
    if not math.isnan(difference):
        compared = f"greatest difference to the live model {difference:.2g} in probability"
    say(f"written to {printable(path)}; {compared}")
