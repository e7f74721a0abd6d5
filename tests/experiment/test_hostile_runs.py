"""Folders of runs made by somebody else: every checksum is right, and what their files say is not."""

import json
import random
from copy import deepcopy
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import mlp_model

import noprop_ode as no
from noprop_ode.experiment import (
    ConfigError,
    build_prediction,
    classify_files,
    load_config,
    load_model,
    load_run_config,
)
from noprop_ode.experiment._saved import warm_start
from noprop_ode.experiment.report import check_data


HOSTILE = (None, True, -1, 0, 7, 2**63, 10**400, 1.5, 1e308, float("nan"), float("inf"), "", "\0", "\udcff", "x" * 9999)
NESTED = ([], {}, [[]], [None], ["a", "a"], [1] * 3, {"type": "resnet"}, {"a": 1}, [[[[[[[[]]]]]]]])


def mutated(plain, rng: random.Random):
    """Plain values with one to three of them changed, removed or added, anywhere."""
    plain = deepcopy(plain)
    for _ in range(rng.choice((1, 1, 2, 3))):
        inner = [plain]
        for value in inner:  # grows: every mapping and list within
            inner += [v for v in (value.values() if isinstance(value, dict) else value) if isinstance(v, dict | list)]
        where = rng.choice([value for value in inner if value] or [{"x": 1}])
        name = rng.choice(list(where) if isinstance(where, dict) else range(len(where)))
        match rng.randrange(5):
            case 0:
                del where[name]
            case 1 if isinstance(where, dict):
                where[rng.choice(("x", "type", "", "\0", name + "x", "x" * 9999))] = deepcopy(where[name])
            case 1:
                where.append(deepcopy(rng.choice(where)))
            case 2:
                where[name] = deepcopy(rng.choice(NESTED))
            case _:
                where[name] = rng.choice(HOSTILE)
    return plain


def sentence(error: Exception) -> str:
    assert "\n" not in str(error).strip()[:-1] and len(str(error)) < 2500, str(error)[:300]
    return "refused"


def arrays(tree) -> list:
    return jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))


@pytest.fixture(scope="module", autouse=True)
def _standard_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def loads(saved, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    model, _, _ = load_model(saved)
    header = no.read_header(saved / "model.safetensors")
    (folder / "image.bmp").write_bytes(b"no image")

    def outcome(case: int) -> str:
        no.save_arrays(folder / "model.safetensors", model, mutated(header, random.Random(case)))
        try:
            found, config, spec = load_model(folder)
            build_prediction(config, found, spec)
            check_data(digits.test, spec)
        except (no.CheckpointError, ConfigError, no.RunError) as error:
            return sentence(error)
        with pytest.raises(no.RunError):
            classify_files(found, config, spec, [folder / "image.bmp"])
        for a, b in zip(arrays(found), arrays(model), strict=True):
            np.testing.assert_array_equal(a, b)
        return "loaded"

    return outcome


def test_a_sample_of_models(loads):
    found = [loads(case) for case in range(150)]
    assert found.count("refused") > 50 and found.count("loaded") > 3


@pytest.mark.slow
def test_ten_thousand_models(loads):
    found = [loads(case) for case in range(1000, 11_000)]
    print({how: found.count(how) for how in sorted(set(found))})


@pytest.fixture(scope="module")
def resumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    images, labels = np.zeros((8, 2, 2, 1), np.uint8), np.arange(8) % 2
    splits = no.data.from_arrays(images, labels, validation=4)
    field = no.nn.MLPField((2, 2, 1), 2, 2, width=2, key=jr.key(0))
    model = no.NoPropCT(field, embedding=no.OneHot(2))

    def fit(resume: bool):
        how = {"optimiser": optax.sgd(1e-3), "epochs": 1, "batch_size": 2, "progress": False, "keep": 1}
        return no.fit(model, splits, folder=folder, resume=resume, **how)

    state = fit(resume=False).state
    (path,) = (folder / "checkpoints").glob("step-*.safetensors")
    header = no.read_header(path)
    assert json.loads(json.dumps(header)) == header

    def outcome(case: int) -> str:
        no.save_arrays(path, state, mutated(header, random.Random(case)))
        try:
            found = fit(resume=True)
        except (no.CheckpointError, no.RunError) as error:
            return sentence(error)
        finally:
            for other in (folder / "checkpoints").glob("step-*.safetensors"):
                if other != path:
                    other.unlink()
        assert int(found.state.step) == int(state.step) and all(
            bool(jnp.isfinite(a).all()) for a in arrays(found.state)
        )
        return "resumed"

    return outcome


def test_a_sample_of_checkpoints(resumes):
    found = [resumes(case) for case in range(200)]
    assert found.count("refused") > 50 and found.count("resumed") > 20


@pytest.mark.slow
def test_ten_thousand_checkpoints(resumes):
    found = [resumes(case) for case in range(1000, 11_000)]
    print({how: found.count(how) for how in sorted(set(found))})


PATHS = {"null": "a\0b", "long": "x" * 5000, "half a character": "\ud800"}
OURS = (no.RunError, no.CheckpointError, ConfigError, no.data.DatasetError, FileNotFoundError)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_paths_that_no_file_system_takes(path):
    model = mlp_model()
    for call in (
        lambda: no.load_arrays(path, model),
        lambda: no.read_header(path),
        lambda: no.save_arrays(path, model),
        lambda: no.RunFolder(path),
        lambda: no.data.load("mnist", data_dir=path),
        lambda: no.data.from_folder(path),
        lambda: load_config(path),
        lambda: load_model(path),
        lambda: load_run_config(path),
        lambda: warm_start(model, Path(path)),
    ):
        with pytest.raises(OURS) as error:
            call()
        assert len(str(error.value)) < 1000
    if path != PATHS["half a character"]:
        with pytest.raises(no.RunError):
            no.read_records(path)


@pytest.mark.parametrize("value", [10**400, -1, float("nan"), float("inf"), 1.5, "1", None, True])
@pytest.mark.parametrize("name", ["step", "rollbacks", "records"])
def test_counts_that_are_none(name, value):
    with pytest.raises((TypeError, ValueError)):
        no.Progress.from_plain({name: value})
