"""A run's folder without its training: what comes after needs a model and its description, not a good one."""

import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from runs import into, save_run

from noprop_ode import data
from noprop_ode.experiment import _run as run_module, run
from noprop_ode.experiment.report import _canvas


SCRIPTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="package", autouse=True)
def _one_optimiser_for_equal_settings():
    """A step is compiled for each optimiser: runs of the same settings share one."""
    kept, build = {}, run_module.build_optimiser

    def shared(config, num_steps, *, model):
        settings = (repr(config.model), repr(config.optimiser), config.training.one_block, num_steps)
        if settings not in kept:
            kept[settings] = build(config, num_steps, model=model)
        return kept[settings]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "build_optimiser", shared)
        yield


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


@pytest.fixture(scope="module")
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam raises a float to an integer count
        yield


@pytest.fixture
def without_plots(monkeypatch, request):
    if "finished" in request.fixturenames:
        request.getfixturevalue("finished")  # which has plots of its own
    if "plots" not in request.keywords:
        monkeypatch.setattr(run_module, "draw_plots", lambda *args, **how: None)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run from its settings to its plots."""
    folder = tmp_path_factory.mktemp("run") / "a"
    with jax.numpy_dtype_promotion("standard"):
        return folder, run(into(folder))


@pytest.fixture
def figures(monkeypatch):
    """The figures, instead of files of them."""
    found = []
    monkeypatch.setattr(_canvas, "save", lambda figure, path: found.append(figure))
    return found
