"""Where a script and a configuration share a name they build the same experiment."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import equinox as eqx
import jax
import jax.random as jr
import pytest

import noprop_ode as no
from noprop_ode.experiment import Config, _run as run_module, find_config, flags, run


SCRIPTS = Path(__file__).parents[2] / "experiments"
NAMES = [
    *(f"cifar10_fast_{variant}" for variant in ("ct", "dt", "fm")),
    *(f"cifar100_fast_{variant}" for variant in ("ct", "fm")),
    *(f"{data}_{variant}" for data in ("digits", "mnist", "cifar10") for variant in ("ct", "dt", "fm")),
]


class Captured(Exception):
    """In place of training: what `fit` was asked to do."""

    def __init__(self, model, splits, how):
        super().__init__("captured")
        self.model, self.splits, self.how = model, splits, how


def capture(model, splits, **how):
    raise Captured(model, splits, how)


def load_script(name):
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_step(found: Captured):
    """The state after one step from where the experiment begins, at a rate that is not zero."""
    model, how = found.model, found.how
    optimiser = how["optimiser"]
    if model.independent_blocks is not None and not isinstance(optimiser, no.BlockwiseTransformation):
        optimiser = no.blockwise(optimiser)
    state = no.TrainState.create(model, optimiser, key=jr.key(1))
    batch = found.splits.train.images[:4], found.splits.train.labels[:4]
    with jax.numpy_dtype_promotion("standard"):
        for state, _ in no.train(state, [batch, batch]):
            pass
    return state


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("digits_dt", *NAMES[:5])]


@pytest.mark.parametrize("name", ["digits_ct", "digits_fm", *SLOW])
def test_a_script_and_its_configuration_are_one_experiment(name, tmp_path, monkeypatch):
    script = load_script(name)
    monkeypatch.setattr(no, "fit", capture)
    monkeypatch.setattr(run_module, "fit", capture)
    monkeypatch.chdir(tmp_path)
    asked = {}
    monkeypatch.setattr(script, "flags", lambda main, text, **defaults: asked.update(main=main, defaults=defaults))
    source = (SCRIPTS / f"{name}.py").read_text()
    exec(
        compile(source[source.index("if __name__") :].replace("if __name__", "if '__main__'"), name, "exec"),
        vars(script),
    )

    config = Config.from_plain({"name": name, **find_config(name)})
    values = {"batch_size": 128, "learning_rate": 1e-3, **asked["defaults"], "seed": 0, "data_dir": None}
    with pytest.raises(Captured) as by_script:
        asked["main"](type("Flags", (), {**values, "out": tmp_path / "script", "resume": False}))
    with pytest.raises(Captured) as by_configuration:
        run(config)
    a, b = by_script.value, by_configuration.value
    # Compiled in one program or op by op: the weights are the same random bits, scaled.
    for x, y in zip(*(jax.tree.leaves(eqx.filter(m.model, eqx.is_array)) for m in (a, b)), strict=True):
        assert x.dtype == y.dtype and bool((abs(x - y) <= 1e-6 * abs(x)).all())
    for setting in ("epochs", "batch_size", "seed"):
        assert a.how[setting] == b.how[setting]
    assert eqx.tree_equal(a.model.default_prediction, b.how["prediction"])
    states = [first_step(found) for found in (a, b)]
    assert jax.tree.structure(states[0].opt_state) == jax.tree.structure(states[1].opt_state)
    leaves = [jax.tree.leaves(eqx.filter(s, eqx.is_inexact_array)) for s in states]
    for x, y in zip(*leaves, strict=True):
        assert bool((abs(x - y) <= 1e-4 * abs(x) + 1e-6).all())


@pytest.mark.parametrize("name", NAMES)
def test_every_script_has_a_configuration_and_shows_its_settings(name):
    config = Config.from_plain({"name": name, **find_config(name)})
    source = (SCRIPTS / f"{name}.py").read_text()
    settings = source[source.rindex("flags(main, __doc__") :]
    assert re.search(rf"epochs={config.training.epochs}\b", settings)
    assert ("batch_size" in settings) == (config.training.batch_size != 128)
    assert f"batch_size={config.training.batch_size}" in settings or config.training.batch_size == 128
    assert f'no.data.load("{config.data.name.type}"' in source
    assert len(source.splitlines()) < 65


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_script_leaves_a_model_of_somebody_elses_as_it_is(resume, tmp_path, capsys):
    (tmp_path / "model.safetensors").write_text("mine")
    (tmp_path / ".env").write_text("mine")
    called = []
    with pytest.raises(SystemExit) as stop:
        flags(called.append, "", epochs=1, arguments=["--out", str(tmp_path), *resume])
    assert stop.value.code == 2 and "already holds model.safetensors" in capsys.readouterr().err and not called
    assert (tmp_path / "model.safetensors").read_text() == "mine" == (tmp_path / ".env").read_text()
    (tmp_path / "model.safetensors").unlink()
    flags(called.append, "", epochs=1, arguments=["--out", str(tmp_path), *resume])
    assert called[0].out.path == tmp_path


def test_a_script_goes_on_with_the_flags_it_began_with(tmp_path, capsys):
    """Another rate, or another length of its cosine, would be a training that nobody asked for."""

    def main(args):
        (args.out / "checkpoints").mkdir(exist_ok=True)
        (args.out / "checkpoints" / "step-00000001.safetensors").touch()

    def call(*arguments):
        flags(main, "", epochs=3, arguments=["--out", str(tmp_path / "a"), *arguments])

    call("--learning-rate", "0.002")
    with pytest.raises(SystemExit) as stop:
        call("--resume")
    assert stop.value.code == 2 and "began with --learning-rate 0.002 (now 0.001)" in capsys.readouterr().err
    call("--resume", "--learning-rate", "0.002")
    call("--epochs", "7")  # `fit` refuses it, and what the run began with stays
    with pytest.raises(SystemExit):
        call("--resume", "--learning-rate", "0.002", "--epochs", "9")
    assert "began with --epochs 3 (now 9)" in capsys.readouterr().err
    (tmp_path / "a" / "model.safetensors").touch()  # it is finished, and may go on for longer
    call("--resume", "--learning-rate", "0.002", "--epochs", "9")


def test_a_script_leaves_a_run_of_the_command_alone(saved, tmp_path, capsys):
    folder = shutil.copytree(saved, tmp_path / "run")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "step-00000001.safetensors").touch()
    before = {path.name for path in folder.iterdir()} | {".noprop_ode.lock"}
    with pytest.raises(SystemExit) as stop:
        flags(lambda args: pytest.fail("it began"), "", epochs=3, arguments=["--out", str(folder), "--resume"])
    assert stop.value.code == 2 and "goes on with it: noprop-ode train --resume" in capsys.readouterr().err
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "content", [None, '{"colour": "red"}', '{"epochs": 3, "batch_size": 128, "learning_rate": 0.001, "seed": 0}']
)
def test_flags_of_a_session_that_did_nothing_are_not_kept(content, resume, tmp_path):
    """And a file of somebody else's is not deleted."""
    (tmp_path / "checkpoints").mkdir()
    for name in ("checkpoints/step-00000001.safetensors", "model.safetensors"):
        (tmp_path / name).touch()
    kept = tmp_path / "flags.json"
    if content is not None:
        kept.write_text(content)

    def main(args):
        raise KeyError("no data")

    foreign = resume and content is not None and "colour" in content
    with pytest.raises(SystemExit if foreign else KeyError):
        flags(main, "", epochs=9, arguments=["--out", str(tmp_path), *(["--resume"] if resume else [])])
    assert (kept.read_text() if kept.exists() else None) == content


def test_a_script_that_fails_to_start_leaves_nothing(tmp_path):
    def main(args):
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        flags(main, "", epochs=3, arguments=["--out", str(tmp_path / "a")])
    assert not (tmp_path / "a").exists()
    # A kill leaves its flags, which are no reason to refuse it; a file of somebody else's is.
    (tmp_path / "a").mkdir()
    kept = tmp_path / "a" / "flags.json"
    kept.write_text('{"epochs": 3, "batch_size": 128, "learning_rate": 0.001, "seed": 0}')
    flags(lambda args: None, "", epochs=5, arguments=["--out", str(tmp_path / "a"), "--resume"])
    assert json.loads(kept.read_text())["epochs"] == 5
    kept.write_text('{"colour": "red"}')
    with pytest.raises(SystemExit):
        flags(lambda args: None, "", epochs=5, arguments=["--out", str(tmp_path / "a")])
    assert kept.read_text() == '{"colour": "red"}'
