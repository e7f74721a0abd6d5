"""Exports the saved model of a run as a `jax.export` artefact, which predicts without this package.

    python experiments/export.py runs/digits-ct-seed0-00

It writes model.jax_export and model.json beside the model, and compares both on test images. To use it, with nothing
but JAX installed:

    predict = jax.export.deserialize(open("model.jax_export", "rb").read()).call
    log_probabilities = predict(images)     # uint8 [n, height, width, channels] -> float32 [n, classes]
"""

import argparse
from pathlib import Path

from noprop_ode.experiment import export_model, guarded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output folder of a run")
    parser.add_argument("--out", type=Path, help="folder for the artefact; that of the run if not given")
    parser.add_argument("--platforms", nargs="+", default=["cpu", "cuda", "tpu"], help="where it shall run")
    parser.add_argument("--best", action="store_true", help="the model with the best validation accuracy")
    args = parser.parse_args()

    def command() -> None:
        path, difference = export_model(args.run, args.out or args.run, platforms=args.platforms, best=args.best)
        print(f"written to {path}; greatest difference to the live model {difference:.2g} in probability")

    guarded(command)


if __name__ == "__main__":
    main()
