"""Evaluates the saved model of a run again: python experiments/evaluate.py runs/digits-ct-seed0-00"""

import sys
from pathlib import Path

import tyro

from noprop_ode import data
from noprop_ode.experiment import CheckpointError, evaluate_protocols, evaluation_key, load_model, protocols


def main(run: tyro.conf.Positional[Path], data_dir: Path | None = None) -> None:
    """Prints the table of protocols on the test set, and the accuracy under the default one.

    Args:
        run: output folder of a run.
        data_dir: where prepared data sets are; by default where the run found them.
    """
    try:
        model, config, _ = load_model(run)
        splits = data.load(
            config.data, data_dir=data_dir or config.data_dir, validation=config.validation, seed=config.seed
        )
    except (FileNotFoundError, CheckpointError, data.DatasetError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    results = evaluate_protocols(
        model, splits.test, key=evaluation_key(config), how=protocols(config.evaluation_steps, config.protocols)
    )
    print(f"test_accuracy={results['default']['accuracy']:.4f}")


if __name__ == "__main__":
    tyro.cli(main)
