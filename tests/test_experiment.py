"""The harness: a run from its settings to its folder, and back from the folder to the same figures."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import noprop_ode as no
from noprop_ode import data
from noprop_ode.experiment import (
    CheckpointError,
    Config,
    build_model,
    evaluation_key,
    load_arrays,
    load_model,
    protocols,
    read_header,
    run,
    save_arrays,
)
from noprop_ode.experiment._build import DataSpec


ROOT = Path(__file__).parents[1]
SMALL = Config(data="digits", field="mlp", epochs=2, evaluation_steps=5, protocols=("paper",), time_power=3.0)


@pytest.fixture(scope="module", autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam raises a float to an integer count
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("run")
    return folder, run(dataclasses.replace(SMALL, out=folder))


def test_run_writes_everything_it_promises(finished):
    folder, summary = finished
    written = json.loads((folder / "summary.json").read_text())
    assert written == json.loads(json.dumps(summary))
    for name in ("test_accuracy", "test_nll", "epochs", "wall_seconds", "train_images_per_second", "samplers"):
        assert name in written
    assert written["config"] == dataclasses.replace(SMALL, out=folder).to_json()
    assert {"python", "jax", "equinox", "diffrax"} <= written["versions"].keys()
    assert all({"accuracy", "nfe"} <= row.keys() for row in written["samplers"].values())
    assert written["samplers"]["paper"]["nfe"] == 5
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"] == "train"]
    assert steps == list(range(1, len(steps) + 1))
    assert sum(line["kind"] == "validation" for line in lines) == SMALL.epochs
    for plot in ("learning_curve.png", "probabilities.png"):
        assert (folder / plot).read_bytes().startswith(b"\x89PNG")


def test_run_learns(finished):
    _, summary = finished
    assert summary["test_accuracy"] > 0.5


def test_saved_model_evaluates_to_the_last_digit(finished):
    folder, summary = finished
    model, config, spec = load_model(folder)
    test = data.load("digits", validation=config.validation, seed=config.seed).test
    assert spec.class_names == test.class_names
    for name in ("default", "paper"):
        found = no.evaluate(
            model, test.images, test.labels, key=evaluation_key(config), **protocols(config.evaluation_steps)[name]
        )
        assert found.accuracy == summary["samplers"][name]["accuracy"]
        assert found.nll == summary["samplers"][name]["nll"]


def test_finished_run_is_not_overwritten(finished):
    folder, _ = finished
    with pytest.raises(FileExistsError, match="already holds a finished run"):
        run(dataclasses.replace(SMALL, out=folder))


def test_diverging_run_saves_the_last_good_weights(tmp_path):
    with pytest.raises(no.NonFiniteLossError, match="step"):
        run(dataclasses.replace(SMALL, out=tmp_path, learning_rate=1e30))
    model, _, _ = load_model(tmp_path)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(model) if isinstance(leaf, jax.Array))
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize("values", [{"epochs": 0}, {"batch_size": 0}, {"validation": 1.5}])
def test_bad_settings(values):
    with pytest.raises(ValueError, match="got"):
        Config(**values)


def test_config_round_trips_and_refuses_unknown_names():
    config = Config(data="mnist", data_dir=Path("somewhere"), epochs=7)
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(ValueError, match="epocs"):
        Config.from_json({"epocs": 3})


@pytest.mark.parametrize(
    "values",
    [
        {"schedule": s, "objective": o, "weighting": w}
        for s, o, w in [
            ("cosine", "squared-error", "elbo"),
            ("linear", "squared-error", "min-snr"),
            ("sigmoid", "cross-entropy", "sigmoid"),
            ("learned", "squared-error", "elbo"),
        ]
    ],
    ids=lambda v: "-".join(v.values()),
)
def test_every_choice_builds_and_has_a_finite_loss(values):
    spec = DataSpec((8, 8, 1), tuple("0123456789"), 0.3, 0.4)
    model = build_model(dataclasses.replace(SMALL, field="conv", **values), spec, key=jr.key(0))
    terms = model.batch_loss(jnp.zeros((4, 8, 8, 1), jnp.uint8), jnp.arange(4), key=jr.key(1))
    assert bool(jnp.isfinite(terms.total))


class TestCheckpoint:
    TREE: ClassVar = {"a": jnp.arange(6, dtype=jnp.float32).reshape(2, 3), "b": [jnp.ones(4, jnp.bfloat16), "text"]}

    def test_round_trip(self, tmp_path):
        path = tmp_path / "folder" / "x.noprop"
        save_arrays(path, self.TREE, {"note": 1})
        assert read_header(path) == {"note": 1}
        like = jax.tree.map(lambda v: jnp.zeros_like(v) if isinstance(v, jax.Array) else v, self.TREE)
        found = load_arrays(path, like)
        assert found["b"][1] == "text"
        for new, old in zip((found["a"], found["b"][0]), (self.TREE["a"], self.TREE["b"][0])):
            assert new.dtype == old.dtype
            np.testing.assert_array_equal(np.asarray(new), np.asarray(old))
        assert [p.name for p in path.parent.iterdir()] == ["x.noprop"]

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            ({"a": jnp.zeros((3, 2)), "b": [jnp.ones(4, jnp.bfloat16)]}, "expects"),
            ({"a": jnp.zeros((2, 3)), "b": [jnp.ones(4, jnp.float32)]}, "expects"),
            ({"a": jnp.zeros((2, 3))}, "lacks"),
            ({**TREE, "c": jnp.zeros(1)}, "lacks"),
        ],
    )
    def test_a_model_that_does_not_fit_is_refused(self, tmp_path, other, message):
        save_arrays(tmp_path / "x", self.TREE, {})
        with pytest.raises(CheckpointError, match=message):
            load_arrays(tmp_path / "x", other)

    def test_damage_anywhere_in_the_arrays_is_refused(self, tmp_path):
        path = tmp_path / "x"
        save_arrays(path, self.TREE, {})
        whole = path.read_bytes()
        start = whole.index(np.asarray(self.TREE["a"]).tobytes())
        for position in (start, start + 11, start + 23):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
            with pytest.raises(CheckpointError, match="damaged"):
                load_arrays(path, self.TREE)

    @pytest.mark.parametrize("content", [b"", b"not a zip file", None])
    def test_foreign_and_truncated_files_are_refused(self, tmp_path, content):
        path = tmp_path / "x"
        save_arrays(path, self.TREE, {})
        path.write_bytes(path.read_bytes()[:200] if content is None else content)
        with pytest.raises(CheckpointError, match="not a saved model"):
            read_header(path)

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="No saved model"):
            read_header(tmp_path / "none")


def _script(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    script = [sys.executable, str(ROOT / "experiments" / arguments[0]), *arguments[1:]]
    return subprocess.run(script, capture_output=True, text=True, cwd=cwd, timeout=300)


def test_script_ends_with_its_accuracy_and_can_be_evaluated_again(tmp_path):
    flags = ["--field", "mlp", "--epochs", "1", "--evaluation-steps", "5", "--protocols", "paper", "--seed", "3"]
    done = _script("digits_ct.py", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("test_accuracy=0.")
    again = _script("evaluate.py", "runs/digits-ct-seed3-00", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip().splitlines()[-1] == last


def test_script_with_missing_data_names_the_ways_out(tmp_path):
    done = _script("mnist_ct.py", "--data-dir", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for way in ("prepare", "--data-dir", "digits"):
        assert way in done.stderr


def test_an_unknown_protocol_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match=r"\['papre'\].*'paper'"):
        run(dataclasses.replace(SMALL, out=tmp_path / "new", protocols=("papre",)))
    assert not (tmp_path / "new").exists()
