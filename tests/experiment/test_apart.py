"""Runs that train one block each, and the run that they make."""

import dataclasses
import json
import shutil

import equinox as eqx
import jax
import numpy as np
import pytest
from runs import save_run

from noprop_ode import OneBlock, RunError, read_header, save_arrays
from noprop_ode.experiment import Config, ConfigError, _join, join_runs, load_model, run
from noprop_ode.experiment._data import load_data


DT = Config.from_plain(
    {
        "data": {"name": "digits", "validation": 0.1},
        "model": {
            "variant": {"type": "dt", "num_blocks": 2, "evidence_skip": True},
            "field": {"type": "mlp", "width": 16},
            "objective": "cross-entropy",
        },
        "training": {"epochs": 1},
        "prediction": {"protocols": ["paper"]},
    }
)


@pytest.fixture(scope="module", autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam raises a float to an integer count
        yield


def weights(folder):
    return [np.asarray(a) for a in jax.tree.leaves(eqx.filter(load_model(folder)[0], eqx.is_array))]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("apart")
    for k in (1, 0):
        run(DT.replace(training={"one_block": k}, output={"dir": str(root / f"block-{k}")}))
    run(DT.replace(output={"dir": str(root / "together")}))
    return root


def test_runs_of_one_block_each_join_into_the_run_of_all(runs, capsys):
    summary = join_runs([runs / "block-0", runs / "block-1"], folder=runs / "joined")
    assert "test_accuracy=" in capsys.readouterr().out
    for a, b in zip(weights(runs / "joined"), weights(runs / "together"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    together = json.loads((runs / "together" / "summary.json").read_text())["samplers"]
    assert summary["samplers"].keys() == together.keys() == {"default", "paper"}
    assert summary["samplers"]["paper"]["nll"] == pytest.approx(together["paper"]["nll"], rel=1e-3)
    assert {path.name for path in (runs / "joined").glob("*.png")} == {"probabilities.png", "confusion.png"}


def test_a_join_that_was_stopped_is_not_trained_over(runs, tmp_path):
    """Its folder has a model, and nothing that a run could go on from."""
    begun = tmp_path / "joined"
    begun.mkdir()
    for name in ("config.yaml", "model.safetensors"):
        shutil.copy(runs / "together" / name, begun / name)
    blocks = [runs / "block-0", runs / "block-1"]
    with pytest.raises(RunError, match=r"not finished; choose another folder \(--out\), or move it away\."):
        join_runs(blocks, folder=begun)
    with pytest.raises(RunError, match="was joined of blocks"):
        run(DT.replace(output={"dir": str(begun)}), resume=begun)


def test_a_join_that_fails_can_be_made_again(runs, tmp_path, monkeypatch):
    """With its settings alone in its folder, it would be taken for a run of the whole model to go on with."""

    def full(*_, **__):
        raise RunError("no space")

    blocks = [runs / "block-0", runs / "block-1"]
    with monkeypatch.context() as patch:
        patch.setattr("noprop_ode.experiment._run.save_arrays", full)
        with pytest.raises(RunError, match="no space"):
            join_runs(blocks, folder=tmp_path / "joined")
    assert not (tmp_path / "joined" / "config.yaml").exists()
    assert join_runs(blocks, folder=tmp_path / "joined")["joined"]


def test_joined_blocks_are_evaluated_on_the_data_of_the_blocks_alone(runs, tmp_path, monkeypatch):
    def renamed(config):
        splits = load_data(config)
        parts = {name: getattr(splits, name) for name in ("train", "validation", "test")}
        return type(splits)(
            **{name: dataclasses.replace(p, class_names=p.class_names[::-1]) for name, p in parts.items()}
        )

    monkeypatch.setattr(_join, "load_data", renamed)
    with pytest.raises(RunError, match="class 0 was '0', and is '9'"):
        join_runs([runs / "block-0", runs / "block-1"], folder=tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_the_data_may_be_elsewhere_when_blocks_are_joined(runs, tmp_path, monkeypatch):
    looked = []

    def load(config):
        looked.append(config.data.dir)
        raise KeyError("enough")

    monkeypatch.setattr(_join, "load_data", load)
    with pytest.raises(KeyError, match="enough"):
        join_runs([runs / "block-0", runs / "block-1"], folder=tmp_path / "a", data_dir=tmp_path)
    assert looked == [tmp_path]


def test_the_folder_of_a_block_is_that_of_a_run(runs):
    part, config, _ = load_model(runs / "block-1")
    assert isinstance(part, OneBlock)
    assert part.k == config.training.one_block == 1
    summary = json.loads((runs / "block-1" / "summary.json").read_text())
    assert list(summary["samplers"]) == ["default"]  # the others are ways of the model that blocks make
    assert not (runs / "block-1" / "probabilities.png").exists()


def test_runs_that_do_not_make_a_model_are_refused(runs, tmp_path):
    with pytest.raises(ConfigError, match="blocks 0 to 1, each once; got 1"):
        join_runs([runs / "block-1"], folder=tmp_path / "a")
    with pytest.raises(ConfigError, match=r"did not train one block: expected a run with training\.one_block"):
        join_runs([runs / "block-1", runs / "together"], folder=tmp_path / "a")
    with pytest.raises(ConfigError, match="got none"):
        join_runs([], folder=tmp_path / "a")
    save_run(tmp_path / "other", config=DT.replace(training={"one_block": 0, "seed": 1}))
    with pytest.raises(ConfigError, match=r"other settings than .*block-1: training\.seed"):
        join_runs([runs / "block-1", tmp_path / "other"], folder=tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "changes, training, message",
    [
        ({"variant": "ct"}, {}, r"training\.one_block: NoPropCT has no blocks to train apart"),
        ({"embedding": {"type": "learned", "dim": 5}}, {}, r"training\.one_block: Blocks that share .*embedding"),
        ({}, {"patience": 3}, r"training\.patience: a block that trains alone would stop"),
        ({}, {"rollbacks": 1}, r"training\.rollbacks: a block that trains alone would slow down"),
    ],
)
def test_what_would_make_no_model_is_refused(changes, training, message, tmp_path):
    config = DT.replace(
        model=changes,
        training={"one_block": 1, **training},
        output={"dir": str(tmp_path / "a")},
        prediction={"protocols": []},
    )
    with pytest.raises(ConfigError, match=message):
        run(config)
    assert not (tmp_path / "a").exists()


def test_blocks_of_other_data_are_not_joined(runs, tmp_path):
    """Another machine may have other classes, or the same in another order, under the same name."""
    model, _, _ = load_model(runs / "block-1")
    header = read_header(runs / "block-1" / "model.safetensors")
    header["data"]["class_names"] = header["data"]["class_names"][::-1]
    save_arrays(tmp_path / "model.safetensors", model, header)
    with pytest.raises(ConfigError, match="was trained on other data than"):
        join_runs([runs / "block-0", tmp_path], folder=tmp_path / "a")
