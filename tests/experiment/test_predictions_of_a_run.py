"""The table of all predictions of a run."""

import json

import pytest
from tables import TABLE, record_of, summary

from noprop_ode.experiment import ConfigError
from noprop_ode.experiment.reproduce import page


def _way(accuracy: float, nll: float, evaluations: float) -> dict:
    return {"accuracy": accuracy, "nll": nll, "calibration_error": 0.01, "nfe": evaluations}


def _record(tmp_path, *, seed=0, better=0.0) -> dict:
    values = json.loads(summary(seed, 0.9, "cifar10_fast_ct", epochs=2))
    values["samplers"] = {
        "default": _way(0.9 + better, 0.31, 1),
        "mean ensemble": _way(0.9 + better, 0.31, 1),  # the default by another name
        "noise ddim-10 x16": _way(0.91, 0.3, 160),
        "noise tsit5": _way(0.8, 123.4, 90.6),
        "mean euler-1": _way(0.7, 1.5, 1),
        "paper": _way(0.81, 99.0, 1000),
        "theirs": _way(0.1, 2.0, 3),
    }
    found = record_of(tmp_path, values)
    found["draws"] = [_way(0.82, 90.0, 1000), _way(0.84, 92.0, 1000)]
    found["mirrored"] = {"validation": _way(0.5, 1, 2), "test": _way(0.92, 0.25, 2)}
    return found


def test_it_names_every_prediction_the_most_accurate_first(tmp_path):
    mark = "predictions cifar10_fast_ct 2"
    lines = page(TABLE(mark), [_record(tmp_path)]).strip().splitlines()
    assert lines[0] == f"<!-- table: {mark} -->" and lines[-1] == "<!-- end -->"
    assert lines[3:-1] == [
        "| the default, mirrored | 0.9200 | 0.250 | 2 |",
        "| 16 draws of 10 DDIM steps | 0.9100 | 0.300 | 160 |",
        "| the default | 0.9000 | 0.310 | 1 |",
        "| the paper's protocol, 2 more draws of noise | 0.8300 ± 0.0100 | 91.0 | 1000 |",
        "| the paper's protocol | 0.8100 | 99.0 | 1000 |",
        "| Tsit5 with adaptive steps from noise | 0.8000 | 123 | 91 |",
        "| 1 Euler step from the mean of the noise | 0.7000 | 1.50 | 1 |",
        "| `theirs` | 0.1000 | 2.00 | 3 |",
    ]


def test_several_seeds_are_averaged_and_runs_of_other_settings_are_left_out(tmp_path):
    runs = [_record(tmp_path), _record(tmp_path, seed=1, better=0.02)]
    other = _record(tmp_path, seed=2, better=-0.5)
    other["settings"]["data.validation"] = 0.02
    text = page(TABLE("predictions cifar10_fast_ct 2"), [*runs, other])
    assert "| the default | 0.9100 ± 0.0100 | 0.310 | 1 |" in text
    del runs[1]["mirrored"]
    assert "mirrored" not in page(TABLE("predictions cifar10_fast_ct 2"), runs)
    assert "| the default | 0.4000 |" in page(TABLE("predictions cifar10_fast_ct 2 data.validation=0.02"), [other])


@pytest.mark.parametrize("which", ["cifar10_fast_ct 3", "cifar10_fast_fm 2", "cifar10_fast_ct 2 data.validation=0.3"])
def test_a_run_that_is_not_there_is_refused(tmp_path, which):
    with pytest.raises(ConfigError, match="no record is of such a run"):
        page(TABLE(f"predictions {which}"), [_record(tmp_path)])


@pytest.mark.parametrize("which", ["cifar10_fast_ct", "cifar10_fast_ct 2 data.validation"])
def test_a_run_that_is_not_said_in_full_is_refused(tmp_path, which):
    with pytest.raises(ConfigError, match="expected predictions CONFIGURATION EPOCHS SETTING=VALUE"):
        page(TABLE(f"predictions {which}"), [_record(tmp_path)])
