"""What a run tells others: TensorBoard, W&B, saved models."""

import os
import sys
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from runs import into, metrics

import noprop_ode as no
from noprop_ode import CheckpointError, RunError, read_header
from noprop_ode.experiment import (
    ConfigError,
    load_model,
    run,
)


pytestmark = pytest.mark.usefixtures("standard_promotion", "without_plots")


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
        def define_metric(self, name, step_metric):
            assert (name, step_metric) == ("*", "step")

        def log(self, values):
            logged.append((values["step"], values))

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
    with pytest.raises(CheckpointError, match="not numbers"):
        load_model(tmp_path)
    for header in ({}, {"config": {"training": 3}, "data": {}}, {**header, "data": {"image_shape": 1}}):
        no.save_arrays(tmp_path / "model.safetensors", model, header)
        with pytest.raises((CheckpointError, ConfigError)):
            load_model(str(tmp_path))
