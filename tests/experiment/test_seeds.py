"""Several seeds in one command: a run for each, and what they say together."""

import json
import math

import numpy as np
import pytest
from runs import SETTINGS, save_run

from noprop_ode.experiment import Config, ConfigError, _seeds, main, run_seeds


@pytest.fixture
def runs(monkeypatch):
    """In place of training: a folder as a run leaves it, with figures that follow from the seed."""
    calls = []

    def fake(config, *, resume=None):
        seed, path = config.training.seed, config.output.dir
        calls.append((seed, None if resume is None else resume.name))
        save_run(path, config=config)
        figures = {"accuracy": 0.9 + seed / 100, "nll": 1.0 + seed, "calibration_error": 0.1}
        samplers = {"default": figures, **({"paper": figures} if seed else {})}
        summary = {"samplers": samplers, "config": config.to_plain()}
        (path / "summary.json").write_text(json.dumps(summary))
        return summary

    monkeypatch.setattr(_seeds, "run", fake)
    return calls


def settings(folder, **training):
    return Config.from_plain({**SETTINGS, "output": {"dir": str(folder)}, "training": training})


def test_seeds_are_run_and_put_together(runs, tmp_path, capsys):
    found = run_seeds(settings(tmp_path), [0, 1, 5])
    accuracy = found["samplers"]["default"]["accuracy"]
    assert runs == [(0, None), (1, None), (5, None)] and found["seeds"] == [0, 1, 5]
    values = np.array([0.9, 0.91, 0.95])
    assert accuracy["values"] == pytest.approx(values.tolist()) and accuracy["mean"] == pytest.approx(values.mean())
    assert accuracy["standard_error"] == pytest.approx(values.std(ddof=1) / math.sqrt(3))
    assert list(found["samplers"]) == ["default"], "a comparison that one of them lacks has no mean"
    out = capsys.readouterr().out
    assert "0.9200 ± 0.0153" in out and out.splitlines()[-1].startswith("test_accuracy=0.9200 standard_error=0.0153")
    assert json.loads((tmp_path / "seeds.json").read_text()) == found
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_goes_on(runs, tmp_path):
    run_seeds(settings(tmp_path), [0, 1])
    (tmp_path / "seed1" / "summary.json").unlink()  # as if it had been stopped
    with pytest.raises(ConfigError, match=r"seed1 had other settings: training\.epochs"):
        run_seeds(settings(tmp_path, epochs=99), [1])
    runs.clear()
    found = run_seeds(settings(tmp_path), [0, 1, 2])
    assert runs == [(1, "seed1"), (2, None)] and found["seeds"] == [0, 1, 2]
    with pytest.raises(ConfigError, match=r"seed0 had other settings: training\.batch_size"):
        run_seeds(settings(tmp_path, batch_size=7), [0])
    with pytest.raises(ConfigError, match=r"seed0 had other settings: training\.epochs"):
        run_seeds(settings(tmp_path, epochs=99), [0])
    (tmp_path / "seed0" / "summary.json").write_text("{")
    with pytest.raises(_seeds.RunError, match=r"summary\.json cannot be read"):
        run_seeds(settings(tmp_path), [0])


def test_one_seed_has_no_standard_error(runs, tmp_path, capsys):
    found = run_seeds(settings(tmp_path), [4])
    assert found["samplers"]["default"]["nll"] == {"mean": 5.0, "standard_error": None, "values": [5.0]}
    assert "standard_error=unknown seeds=1" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["config.yaml", "seeds.json", "learning_curve.png"])
def test_files_of_somebody_else_are_not_written_over(runs, tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(_seeds.RunError, match="already holds"):
        run_seeds(settings(tmp_path), [0])
    assert (tmp_path / name).read_text() == "precious" and runs == []


def test_the_flag(runs, tmp_path, capsys):
    main(["digits_ct", "--seeds", "2", "--out", str(tmp_path / "a")])
    main(["digits_ct", "--seeds", "7,3", "--out", str(tmp_path / "b"), "--epochs", "1"])
    assert [seed for seed, _ in runs] == [0, 1, 7, 3]
    capsys.readouterr()
    for seeds, message in {
        "x": "expected seeds such as 0,1,2",
        "1.5": "expected seeds such as",
        "0": "from 1 to 1000 of them; got 0",
        "1,1": "each at most once",
        "-1": "expected seeds such as",
    }.items():
        with pytest.raises(SystemExit) as stop:
            main(["digits_ct", f"--seeds={seeds}"])
        err = capsys.readouterr().err
        assert stop.value.code == 2 and message in err and err.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["--resume", str(tmp_path), "--seeds", "2"])
    assert "give their --out again" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["digits_ct", "--seed", "7", "--seeds", "2"])
    assert "leave out --seed" in capsys.readouterr().err
