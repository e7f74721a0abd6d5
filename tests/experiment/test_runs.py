"""A run from its settings to its folder: what it writes, and how it stops, goes on and begins."""

import json
import signal

import equinox as eqx
import jax
import numpy as np
import pytest
from runs import SMALL, assert_same_run, into, metrics, stop_at, weights

import noprop_ode as no
from noprop_ode import CheckpointError, Interrupted, RunError, data, read_header
from noprop_ode.experiment import (
    ConfigError,
    _run as run_module,
    evaluation_key,
    load_config,
    load_model,
    protocols,
    run,
)


pytestmark = pytest.mark.usefixtures("standard_promotion", "without_plots")


def test_run_writes_everything_it_promises(finished):
    folder, summary = finished
    written = json.loads((folder / "summary.json").read_text())
    assert written == json.loads(json.dumps(summary))
    for name in ("test_accuracy", "test_nll", "wall_seconds", "train_images_per_second", "samplers", "best_epoch"):
        assert name in written
    assert load_config(folder / "config.yaml") == into(folder)
    assert "jax" in json.loads((folder / "environment.json").read_text())["versions"]
    assert {"python", "jax", "equinox", "diffrax"} <= written["versions"].keys()
    assert written["samplers"]["paper"]["nfe"] == 5
    steps, epochs = zip(*((r["step"], r["epoch"]) for r in metrics(folder) if r["kind"] == "train"))
    assert steps == tuple(range(1, 31)) and written["steps"] == 30
    assert epochs == (1,) * 10 + (2,) * 10 + (3,) * 10
    assert [r["epoch"] for r in metrics(folder) if r["kind"] == "validation"] == [1, 2, 3]
    for plot in ("learning_curve.png", "probabilities.png", "confusion.png"):
        assert (folder / plot).read_bytes().startswith(b"\x89PNG")
    names = sorted(p.name for p in (folder / "checkpoints").iterdir())
    assert names == ["best.safetensors", "step-00000020.safetensors", "step-00000030.safetensors"]


def test_saved_model_evaluates_to_the_last_digit(finished):
    folder, summary = finished
    model, config, spec = load_model(folder)
    test = data.load("digits", validation=config.data.validation, seed=config.training.seed).test
    assert spec.class_names == test.class_names
    for name, how in protocols(config, model, spec).items():
        found = no.evaluate(model, test.images, test.labels, key=evaluation_key(config), prediction=how)
        assert found.accuracy == summary["samplers"][name]["accuracy"]
        assert found.nll == summary["samplers"][name]["nll"]
    assert read_header(folder / "checkpoints" / "best.safetensors")["epoch"] == summary["best_epoch"]
    assert isinstance(load_model(folder, best=True)[0], no.NoPropCT)


def test_the_same_seed_is_the_same_run_and_another_is_not(finished, tmp_path):
    run(into(tmp_path / "again"))
    assert_same_run(finished[0], tmp_path / "again")
    run(into(tmp_path / "other", training={"seed": 1, "epochs": 1}, prediction={"protocols": []}))
    assert metrics(finished[0])[0]["loss"] != metrics(tmp_path / "other")[0]["loss"]


RECIPES = {
    "plain": {},
    "everything": {
        "data": {"augmentation": {"type": "crop-flip", "padding": 1}},
        "model": {"schedule": {"type": "learned"}, "embedding": {"type": "learned", "dim": 4}},
        "training": {"average_decay": 0.9, "patience": 2},
        "optimiser": {"clip": 1.0, "shared_learning_rate": 1e-4},
    },
    "blocks": {
        "model": {"variant": {"type": "dt", "num_blocks": 2}, "plan": {"type": "sampled-block"}, "times": "uniform"}
    },
    "several steps": {"training": {"steps_per_call": 4}},
}


@pytest.mark.parametrize("recipe", ["plain", *(pytest.param(r, marks=pytest.mark.slow) for r in list(RECIPES)[1:])])
def test_a_run_that_is_stopped_and_resumed_is_the_run_that_was_not(recipe, finished, tmp_path, monkeypatch, capsys):
    whole = finished[0]
    if recipe != "plain":
        whole = tmp_path / "whole"
        run(into(whole, **RECIPES[recipe]))
    stopped = into(tmp_path / "stopped", **RECIPES[recipe])
    for step in (8, 20) if recipe == "several steps" else (7, 20):  # 20 is the end of an epoch, before validation
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(Interrupted) as found:
                run(stopped, resume=(tmp_path / "stopped") if (tmp_path / "stopped").exists() else None)
        assert found.value.exit_code == 128 + signal.SIGTERM
        assert f"--resume {tmp_path / 'stopped'}" in capsys.readouterr().err
        assert not (tmp_path / "stopped" / "summary.json").exists()
    run(stopped, resume=tmp_path / "stopped")
    assert_same_run(whole, tmp_path / "stopped")


def test_a_damaged_checkpoint_is_passed_over(finished, tmp_path, monkeypatch, capsys):
    config = into(tmp_path, output={"keep": 3, "checkpoint_seconds": 0})
    with monkeypatch.context() as patch:
        stop_at(patch, 13)
        with pytest.raises(Interrupted):
            run(config)
    newest, older, *_ = sorted((tmp_path / "checkpoints").glob("step-*"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-1])
    content = bytearray(older.read_bytes())
    content[len(content) // 2] ^= 1
    older.write_bytes(content)
    run(config, resume=tmp_path)
    assert capsys.readouterr().err.count("warning: ") == 2
    assert metrics(tmp_path) == metrics(finished[0])


def test_nothing_good_to_resume_from_is_said(tmp_path, monkeypatch):
    config = into(tmp_path)
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(Interrupted):
            run(config)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"No checkpoint in .* can be used"):
        run(config, resume=tmp_path)


def test_folders_that_cannot_be_used(finished, tmp_path, monkeypatch):
    with pytest.raises(RunError, match="already holds a finished run"):
        run(into(finished[0]))
    with pytest.raises(RunError, match="is finished"):
        run(into(finished[0]), resume=finished[0])
    with pytest.raises(RunError, match="no run to resume"):
        run(SMALL, resume=tmp_path / "none")
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(Interrupted):
            run(into(tmp_path / "begun"))
    with pytest.raises(RunError, match="--resume"):
        run(into(tmp_path / "begun"))
    held = no.RunFolder(tmp_path / "held")
    with pytest.raises(RunError, match="Another run is writing"):
        run(into(tmp_path / "held"))
    held.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Cannot write"):
        run(into(tmp_path / "file"))


def test_a_run_goes_on_only_with_the_settings_it_began_with(finished, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(Interrupted):
            run(into(tmp_path))
    for change in ({"training": {"seed": 1}}, {"data": {"validation": 0.2}}, {"optimiser": {"learning_rate": 0.1}}):
        (section,) = change
        (name,) = change[section]
        with pytest.raises(ConfigError, match=rf"began with other settings: {section}\.{name}"):
            run(into(tmp_path, **change), resume=tmp_path)
    run(into(tmp_path), resume=tmp_path)
    assert_same_run(finished[0], tmp_path)


def test_a_run_begins_with_the_weights_of_another(finished, tmp_path, monkeypatch):
    def begun(name, start):
        training = {"epochs": 1, "seed": 7, "batch_size": 600, "warm_start": str(start)}
        frozen = {"learning_rate": 1e-12}
        return into(tmp_path / name, training=training, optimiser=frozen, prediction={"protocols": []})

    folder = finished[0]
    run(begun("best", folder / "checkpoints" / "best.safetensors"))
    config = begun("last", folder)
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(Interrupted):
            run(config)
    # Once it has a checkpoint it needs the other no more.
    monkeypatch.setattr(run_module, "warm_start", lambda *args: pytest.fail("the other run was read again"))
    run(config, resume=tmp_path / "last")
    best = jax.tree.leaves(eqx.filter(load_model(folder, best=True)[0], eqx.is_array))
    for name, expected in (("last", weights(folder)), ("best", best)):
        for x, y in zip(weights(tmp_path / name), expected, strict=True):
            np.testing.assert_allclose(x, y, atol=1e-6)


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(finished, tmp_path):
    for start, sections, message in (
        (
            finished[0],
            {"model": {"field": {"type": "mlp", "width": 16}}},
            r"holds .* as float32\[32\], but the model expects",
        ),
        (finished[0], {"model": {"field": {"type": "conv"}}}, "saved from another one"),
        (tmp_path / "none", {}, "training.warm_start: there is no .*none; name the folder of a finished run"),
        (tmp_path, {}, "training.warm_start: there is no .*model.safetensors"),
        (finished[0] / "config.yaml", {}, "is not a checkpoint, or is damaged"),
    ):
        with pytest.raises((RunError, CheckpointError), match=message) as error:
            run(into(tmp_path / "new", training={"warm_start": str(start)}, **sections))
        assert "\n" not in str(error.value) and not (tmp_path / "new").exists()


def test_a_run_begins_only_where_nothing_is_in_its_way(tmp_path):
    for name in ("metrics.jsonl", "model.safetensors", "learning_curve.png", "checkpoints/step-00000001.safetensors"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        with pytest.raises(RunError, match="already holds"):
            run(into(tmp_path))
        assert path.read_text() == "mine"
        path.unlink()
        assert not (tmp_path / "config.yaml").exists()
    (tmp_path / ".env").write_text("mine")
    run(into(tmp_path, training={"epochs": 1}))
    assert (tmp_path / ".env").read_text() == "mine"
