"""The harness: a run from its settings to its folder, and back from the folder to the same figures."""

import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import noprop_ode as no
from noprop_ode import CheckpointError, Interrupted, RunError, data, read_header, read_records
from noprop_ode.experiment import (
    Config,
    ConfigError,
    _run as run_module,
    evaluation_key,
    load_config,
    load_model,
    load_run_config,
    protocols,
    run,
)


ROOT = Path(__file__).parents[2]
SMALL = Config.from_plain(
    {
        "data": {"name": "digits", "validation": 0.1},
        "model": {"field": {"type": "mlp", "width": 32}, "times": "power", "objective": "cross-entropy"},
        "training": {"epochs": 3},
        "prediction": {"paper_steps": 5, "protocols": ["paper"]},
    }
)


@pytest.fixture(scope="module", autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam raises a float to an integer count
        yield


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch, request):
    if "plots" not in request.keywords and "finished" not in request.fixturenames:
        monkeypatch.setattr(run_module, "draw_plots", lambda *args, **how: None)


def into(folder: Path, config: Config = SMALL, **sections) -> Config:
    sections["output"] = {"dir": str(folder), **sections.get("output", {})}
    return config.replace(**sections)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "a"
    return folder, run(into(folder))


def weights(folder: Path) -> list[np.ndarray]:
    return [np.asarray(a) for a in jax.tree.leaves(eqx.filter(load_model(folder)[0], eqx.is_array))]


def metrics(folder: Path) -> list[dict]:
    return read_records(folder / "metrics.jsonl")


def assert_same_run(a: Path, b: Path) -> None:
    for x, y in zip(weights(a), weights(b), strict=True):
        np.testing.assert_array_equal(x, y)
    assert metrics(a) == metrics(b)
    results = [json.loads((folder / "summary.json").read_text())["samplers"] for folder in (a, b)]
    for name in results[0]:
        assert results[0][name]["nll"] == results[1][name]["nll"]


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
    run(into(tmp_path / "other", training={"seed": 1}))
    assert metrics(finished[0]) != metrics(tmp_path / "other")


def stop_at(monkeypatch, step: int, number: int = signal.SIGTERM) -> None:
    """Sends this process a signal once a step is through."""

    def stop(run, event):
        if isinstance(event, no.Stepped) and run.progress.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(run_module, "_callbacks", lambda config: [stop])


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
def test_a_run_that_is_stopped_and_resumed_is_the_run_that_was_not(recipe, tmp_path, monkeypatch, capsys):
    config = into(tmp_path / "whole", **RECIPES[recipe])
    run(config)
    stopped = into(tmp_path / "stopped", config)
    for step in (8, 20) if recipe == "several steps" else (7, 20, 26):  # 20 is the end of an epoch, before validation
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(Interrupted) as found:
                run(stopped, resume=(tmp_path / "stopped") if (tmp_path / "stopped").exists() else None)
        assert found.value.exit_code == 128 + signal.SIGTERM
        assert f"--resume {tmp_path / 'stopped'}" in capsys.readouterr().err
        assert not (tmp_path / "stopped" / "summary.json").exists()
    run(stopped, resume=tmp_path / "stopped")
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


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


def test_a_finished_run_can_be_extended(tmp_path):
    constant = {"schedule": {"type": "constant"}}
    run(into(tmp_path / "whole", optimiser=constant))
    run(into(tmp_path / "parts", optimiser=constant, training={"epochs": 2}))
    run(load_run_config(tmp_path / "parts", training={"epochs": 3}), resume=tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert load_run_config(tmp_path / "parts").training.epochs == 3


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


def test_early_stopping_takes_the_best(tmp_path):
    config = into(tmp_path, training={"epochs": 30, "patience": 1}, optimiser={"learning_rate": 1e-12})
    summary = run(config)
    assert summary["steps"] == 20 and summary["best_epoch"] == 1
    best = jax.tree.leaves(eqx.filter(load_model(tmp_path, best=True)[0], eqx.is_array))
    for a, b in zip(weights(tmp_path), best):
        np.testing.assert_array_equal(a, b)


def test_tensorboard_gets_the_same_numbers(tmp_path, monkeypatch):
    writers = pytest.importorskip("tensorboardX.event_file_writer")
    write, written = writers.EventsWriter.write_event, {}

    def spy(self, event):
        for value in event.summary.value:
            written[value.tag, event.step] = value.simple_value
        write(self, event)

    monkeypatch.setattr(writers.EventsWriter, "write_event", spy)
    summary = run(into(tmp_path, training={"epochs": 1}, output={"tensorboard": True}))
    assert any((tmp_path / "tensorboard").iterdir())
    for name in ("loss", "learning_rate"):
        kept = {r["step"]: r[name] for r in metrics(tmp_path) if r["kind"] == "train"}
        assert {s: v for (tag, s), v in written.items() if tag == f"train/{name}"} == pytest.approx(kept)
    for name, figures in summary["samplers"].items():
        for figure in ("accuracy", "nll", "calibration_error", "nfe"):
            assert written[f"test/{name}/{figure}", summary["steps"]] == pytest.approx(figures[figure])


def test_a_tensorboard_that_cannot_be_written_is_dropped_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    writers = pytest.importorskip("tensorboardX.event_file_writer")

    write, written = writers.EventsWriter.write_event, []

    def full(self, event):
        written.append(event)
        if len(written) > 3:
            raise OSError(28, os.strerror(28))
        write(self, event)

    monkeypatch.setattr(writers.EventsWriter, "write_event", full)
    run(into(tmp_path, training={"epochs": 1}, output={"tensorboard": True}))
    assert capsys.readouterr().err.count("no more records for TensorBoard: No space left") == 1
    assert (tmp_path / "summary.json").exists()


def test_wandb_gets_the_same_numbers(tmp_path, monkeypatch):
    """Against a stand-in, because the package wants an account or a local service."""
    logged = []

    class Run:
        def log(self, values, step):
            logged.append((step, values))

        def finish(self):
            logged.append("finished")

    def init(**how):
        assert how["mode"] == "offline" and how["config"]["data"]["name"] == "digits"
        return Run()

    monkeypatch.delenv("WANDB_MODE", raising=False)
    wandb = types.ModuleType("wandb")
    wandb.init = init
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    summary = run(into(tmp_path, training={"epochs": 1}, output={"wandb": True}))
    assert logged[-1] == "finished"
    assert logged[0][1]["train/learning_rate"] == metrics(tmp_path)[0]["learning_rate"]
    found = {name: value for _, values in logged[:-1] for name, value in values.items()}
    for name in ("default", "paper"):
        assert found[f"test/{name}/accuracy"] == summary["samplers"][name]["accuracy"]
        assert found[f"test/{name}/nll"] == summary["samplers"][name]["nll"]
    losses = {step: values["train/loss"] for step, values in logged[:-1] if "train/loss" in values}
    assert losses == {r["step"]: r["loss"] for r in metrics(tmp_path) if r["kind"] == "train"}


def test_missing_extras_are_named_and_block_no_folder(tmp_path, monkeypatch):
    missing = {"tensorboard": ("tensorboardX", "tensorboardX.event_file_writer"), "wandb": ("wandb",)}
    for name, modules in missing.items():
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(RunError, match=rf'needs {modules[0]}.*: pip install "noprop_ode\[{name}\]"'):
            run(into(tmp_path / name, output={name: True}))
        assert not (tmp_path / name).exists()


def test_a_damaged_model_is_refused(finished, tmp_path):
    content = (finished[0] / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-3])
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(tmp_path)


def test_a_model_of_weights_that_are_not_numbers_is_refused(finished, tmp_path):
    model, _, _ = load_model(finished[0])
    spoilt = jax.tree.map(lambda a: a * jnp.nan if eqx.is_inexact_array(a) else a, model)
    header = read_header(finished[0] / "model.safetensors")
    no.save_arrays(tmp_path / "model.safetensors", spoilt, header)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        load_model(tmp_path)
    for header in ({}, {"config": {"training": 3}, "data": {}}, {**header, "data": {"image_shape": 1}}):
        no.save_arrays(tmp_path / "model.safetensors", model, header)
        with pytest.raises((CheckpointError, ConfigError)):
            load_model(str(tmp_path))


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


def test_a_script_with_missing_data_names_the_ways_out(tmp_path):
    done = script("mnist_ct.py", "--data-dir", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for way in ("prepare", "digits"):
        assert way in done.stderr


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
