"""Records of runs, and a page for their tables, as the tests have them."""

import json

from noprop_ode.experiment import Config, find_config, override, parse_overrides
from noprop_ode.experiment.reproduce import record


TABLE = "<!-- table: {} -->\nold\n<!-- end -->\n\n".format
PAGE = f"# Results\n\n{TABLE('overview')}Text.\n\n{TABLE('other')}{TABLE('paper')}"


def summary(seed: int, accuracy: float, name="paper/mnist_ct", epochs=3) -> str:
    flags = parse_overrides(f"--seed {seed} --epochs {epochs}".split())
    config: Config = override(find_config(name), flags)
    way = {"accuracy": accuracy, "nll": 0.1, "calibration_error": 0.01, "nfe": 1.0, "saved": 0.0, "seconds": 1.0}
    values = {
        "samplers": {"default": way, "paper": {**way, "accuracy": accuracy - 0.01}},
        "config": config.to_plain(),
        "best_validation_accuracy": accuracy,
        "train_seconds": 120.0,
        "device": {"kind": "cpu"},
        "versions": {"jax": "0"},
    }
    return json.dumps(values)


def record_of(tmp_path, values: dict) -> dict:
    (tmp_path / "summary.json").write_text(json.dumps(values))
    return record(tmp_path)
