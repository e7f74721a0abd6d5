"""The scripts, and components of a user's own in a run."""

import runpy
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest
from runs import into

from noprop_ode.experiment import (
    ConfigError,
    load_config,
    load_model,
    load_run_config,
    run,
)


ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("standard_promotion", "without_plots")


def script(*arguments: str, cwd: Path, **how) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "experiments" / arguments[0]), *arguments[1:]]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, **how)


def test_scripts_from_training_to_evaluation(tmp_path):
    flags = "--field mlp --model.field.width 16 --epochs 1 --paper_steps 5 --protocols paper --seed 3".split()
    done = script("train.py", "digits_ct", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("test_accuracy=0.")
    again = script("evaluate.py", "runs/digits_ct-seed3-00", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip().splitlines()[-1] == last


def test_a_script_with_missing_data_names_the_ways_out(tmp_path, monkeypatch, capsys):
    path = ROOT / "experiments" / "mnist_ct.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), "--data-dir", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    assert stop.value.code == 2
    said = capsys.readouterr().err
    for way in ("prepare", "digits"):
        assert way in said


def test_a_misspelt_protocol_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ConfigError, match=r"'papre' is no way in which this model predicts. Did you mean 'paper'"):
        run(into(tmp_path / "new", prediction={"protocols": ["papre"]}))
    assert not (tmp_path / "new").exists()


def test_a_loader_a_sampler_and_an_optimiser_of_the_users_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        """
import diffrax, optax
import noprop_ode as no
from noprop_ode import data
from noprop_ode.experiment import register

@register("data", "few-digits")
def few(folder, validation, seed, *, below: int = 9):
    if below == 0:
        return "nothing"
    digits = data.load("digits", validation=validation, seed=seed)
    return data.Splits(digits.train.take(digits.train.labels < below), digits.validation, digits.test)

@register("sampler", "midpoint-3")
def midpoint():
    return no.ODE(diffrax.Midpoint(), steps=3)

@register("optimiser", "plain")
def plain(rate, *, times: float = 1.0):
    return optax.chain(optax.scale(times), optax.sgd(rate))
"""
    )
    (tmp_path / "mine.yaml").write_text(
        "imports: [mine.py]\ndata: {name: {type: few-digits, below: 5}}\nmodel: {field: {type: mlp, width: 8}}\n"
        "optimiser: {method: {type: plain, times: 2}}\ntraining: {epochs: 1}\n"
        "prediction: {sampler: midpoint-3, start: noise, decoder: readout, protocols: []}\n"
    )
    config = load_config(tmp_path / "mine.yaml", trust_imports=True)
    summary = run(into(tmp_path / "run", config))
    assert 3 < summary["steps"] < 6 and summary["samplers"]["default"]["nfe"] == 6
    assert load_run_config(tmp_path / "run").data.name.settings == {"below": 5}
    for below, message in ((8, "began with other settings: data.name"), (0, "'few-digits' gave 'str', not noprop_ode")):
        with pytest.raises(ConfigError, match=message):
            run(config.replace(data={"name": {"type": "few-digits", "below": below}}), resume=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"data.name.beyond: unknown setting of data 'few-digits'. Known are below"):
        config.replace(data={"name": {"type": "few-digits", "beyond": 5}})


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"training": {"batch_size": 10**6}}, "training.batch_size: expected at most 1294"),
        ({"prediction": {"draws": 8}}, "prediction: From the mean, 8 draws"),
        ({"prediction": {"sampler": {"type": "ode", "steps": 0}}}, "prediction.sampler.steps: expected a whole number"),
        (
            {"model": {"variant": "fm", "objective": "squared-error"}, "prediction": {"sampler": "ddim"}},
            "prediction: Ancestral follows the Gaussian",
        ),
        (
            {"model": {"variant": "fm", "objective": "squared-error"}, "prediction": {"decoder": "posterior"}},
            "prediction: With sigma=0",
        ),
        ({"data": {"augmentation": {"type": "crop-flip", "padding": -1}}}, "augmentation.padding"),
        ({"data": {"augmentation": {"type": "translate-flip", "pixels": 8}}}, "data.augmentation: expected a shift of"),
        (
            {
                "model": {"variant": {"type": "dt", "num_blocks": 2}, "times": "uniform"},
                "prediction": {"protocol": "mean ensemble", "sampler": "ddim"},
            },
            "prediction: EnsembleDecoder asks the network where trajectories start, so Ancestral",
        ),
    ],
)
def test_settings_that_do_not_suit_are_refused_before_anything_is_written(sections, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run(into(tmp_path / "new", **sections))
    assert not (tmp_path / "new").exists()


def test_augmented_low_precision_and_prototypes_train(tmp_path):
    summary = run(
        into(
            tmp_path,
            data={"augmentation": {"type": "crop-flip", "padding": 1, "flip": False}},
            model={"precision": "bfloat16", "embedding": {"type": "prototype"}},
            training={"epochs": 1},
        )
    )
    model, _, _ = load_model(tmp_path)
    assert 0 <= summary["test_accuracy"] <= 1 and float(jnp.abs(model.embedding.matrix).max()) > 0.5
