"""Runs as the tests of the harness have them, trained and untrained."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

import noprop_ode as no
from noprop_ode import read_records, save_arrays
from noprop_ode.experiment import Config, DataSpec, _run as run_module, build_model, dump_yaml, load_model


SETTINGS = {
    "data": {"name": "digits"},
    "model": {"field": {"type": "mlp", "width": 16}},
    "prediction": {"protocols": []},
}


SMALL = Config.from_plain(
    {
        "data": {"name": "digits", "validation": 0.1},
        "model": {"field": {"type": "mlp", "width": 32}, "times": "power", "objective": "cross-entropy"},
        "training": {"epochs": 3},
        "prediction": {"paper_steps": 5, "protocols": ["paper"]},
    }
)


def save_run(
    folder: Path, *, names: tuple[str, ...] | None = None, shape=(8, 8, 1), config: Config | None = None
) -> Path:
    """A run with an untrained model, and three epochs of metrics."""
    config = Config.from_plain(SETTINGS) if config is None else config
    spec = DataSpec(shape, tuple("0123456789") if names is None else names, 0.3, 0.4)
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"config": config.to_plain(), "data": dataclasses.asdict(spec)}
    save_arrays(folder / "model.safetensors", build_model(config, spec), metadata)
    (folder / "config.yaml").write_text(dump_yaml(config))
    records = []
    for step in range(1, 31):
        loss = {"loss": 2 / step + 0.01, "denoising": 2 / step, "readout": -0.0, "prior": 0.01, "learning_rate": 1e-3}
        records.append({"kind": "train", "step": step, "epoch": (step - 1) // 10, **loss})
        if step % 10 == 0:
            values = {"accuracy": step / 40, "nll": 1 / step}
            records.append({"kind": "validation", "step": step, "epoch": step // 10, **values})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder


def into(folder: Path, config: Config = SMALL, **sections) -> Config:
    sections["output"] = {"dir": str(folder), **sections.get("output", {})}
    return config.replace(**sections)


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


def stop_at(monkeypatch, step: int, number: int = signal.SIGTERM) -> None:
    """Sends this process a signal once a step is through."""

    def stop(run, event):
        if isinstance(event, no.Stepped) and run.progress.step == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(run_module, "_callbacks", lambda config: [stop])
