"""How long a run is: longer than it was, not shorter, and as long as it gets better."""

import shutil
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest
from runs import assert_same_run, into, metrics, stop_at, weights

from noprop_ode import Interrupted, RunError
from noprop_ode.experiment import _run as run_module, load_model, load_run_config, run
from noprop_ode.experiment._run_folder import differences


pytestmark = pytest.mark.usefixtures("standard_promotion", "without_plots")


def test_a_finished_run_can_be_extended(tmp_path):
    constant = {"schedule": {"type": "constant"}}
    run(into(tmp_path / "whole", optimiser=constant))
    run(into(tmp_path / "parts", optimiser=constant, training={"epochs": 2}))
    run(load_run_config(tmp_path / "parts", training={"epochs": 3}), resume=tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert load_run_config(tmp_path / "parts").training.epochs == 3
    shutil.rmtree(tmp_path / "parts" / "checkpoints")
    with pytest.raises(RunError, match="no checkpoint left that can be read"):
        run(load_run_config(tmp_path / "parts", training={"epochs": 4}), resume=tmp_path / "parts")


def last_step(folder) -> int:
    return metrics(folder)[-1]["step"]


def test_an_extension_that_is_stopped_can_be_gone_on_with(tmp_path, monkeypatch):
    run(into(tmp_path / "a", training={"epochs": 1}, prediction={"protocols": []}))
    longer, last = load_run_config(tmp_path / "a", training={"epochs": 3}), last_step(tmp_path / "a")
    with monkeypatch.context() as patch:
        stop_at(patch, last + 1)
        with pytest.raises(Interrupted):
            run(longer, resume=tmp_path / "a")
    run(load_run_config(tmp_path / "a"), resume=tmp_path / "a")  # with what config.yaml says by now
    assert last_step(tmp_path / "a") == 3 * last


def test_a_run_does_not_go_on_for_less_than_it_has_trained(tmp_path, monkeypatch):
    folder = tmp_path / "a"
    with monkeypatch.context() as patch:
        stop_at(patch, 25)
        with pytest.raises(Interrupted):
            run(into(folder))
    for epochs, message in (
        (1, "taken 25 steps already, and 1 epochs"),
        (2, "taken 25 steps already, and 2 epochs"),
    ):
        with pytest.raises(RunError, match=message):
            run(load_run_config(folder, training={"epochs": epochs}), resume=folder)
        assert load_run_config(folder).training.epochs == 3, "what was refused changes nothing"
    run(into(folder), resume=folder)
    assert last_step(folder) == 30


def test_early_stopping_takes_the_best(tmp_path):
    config = into(tmp_path, training={"epochs": 30, "patience": 1}, optimiser={"learning_rate": 1e-12})
    summary = run(config)
    assert summary["steps"] == 20 and summary["best_epoch"] == 1
    best = jax.tree.leaves(eqx.filter(load_model(tmp_path, best=True)[0], eqx.is_array))
    for a, b in zip(weights(tmp_path), best):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(RunError, match="stopped by itself after epoch 2"):
        run(load_run_config(tmp_path, training={"epochs": 60}), resume=tmp_path)
    assert load_run_config(tmp_path).training.epochs == 30


def test_a_run_that_fails_to_start_leaves_the_folder_to_the_mended_command(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "fit", lambda *_, **__: (_ for _ in ()).throw(MemoryError("too large a batch")))
        with pytest.raises(MemoryError):
            run(into(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_a_setting_that_a_run_is_older_than_is_no_difference():
    """One within a component, too."""
    config = into(Path("a"), data={"validation": 0.2})
    began = config.to_plain()
    del began["model"]["variant"]["evidence_skip"], began["data"]["validation"]
    assert differences(began, config) == ["data.validation"]  # its default is another than that of this run
    began["model"]["variant"]["states_per_image"] = 3
    assert differences(began, config) == ["data.validation", "model.variant"]


def test_a_folder_without_a_model_says_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"no folder {tmp_path / 'nowhere'}"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"holds no run: it has neither model\.safetensors nor config\.yaml"):
        load_model(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(FileNotFoundError, match=rf"is not finished, .* by --resume {tmp_path}\.$"):
        load_model(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"read with best=True \(--best\)"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"the folder of a run; got the file .*noprop_ode\.load_arrays"):
        load_model(tmp_path / "config.yaml")
