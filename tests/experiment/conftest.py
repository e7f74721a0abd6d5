"""A run's folder without its training: what comes after needs a model and its description, not a good one."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from noprop_ode import data, save_arrays
from noprop_ode.experiment import Config, DataSpec, build_model, dump_yaml


SCRIPTS = Path(__file__).parents[2] / "experiments"
SETTINGS = {
    "data": {"name": "digits"},
    "model": {"field": {"type": "mlp", "width": 16}},
    "prediction": {"protocols": []},
}


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


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("saved") / "a")


@pytest.fixture(scope="session")
def digits():
    return data.load("digits")


@pytest.fixture
def call_script(monkeypatch, capsys):
    """Runs a script of experiments/ in this process: its exit code, standard output and standard error."""

    def call(name: str, *arguments: object) -> tuple[int, str, str]:
        spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        capsys.readouterr()
        try:
            module.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def tiny_images():
    def make(shape, names, count=12) -> data.Dataset:
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (count, *shape)).astype(np.uint8)
        return data.Dataset("tiny/test", images, np.arange(count, dtype=np.int32) % len(names), names)

    return make
