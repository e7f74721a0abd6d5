"""`fit` over objects: resume to the last bit, callbacks, rollback, folders, and data of every kind."""

import errno
import hashlib
import os
import signal
import threading
import time
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import adam, blobs, mlp_model

import noprop_ode as no
from noprop_ode._training import callbacks
from noprop_ode._training.signals import SignalGuard


def splits(n=60, *, images=None):
    xs, ys = blobs(n)
    xs = xs if images is None else images(xs)
    part = types.SimpleNamespace(images=xs, labels=ys)
    held_out = types.SimpleNamespace(images=xs[:12], labels=ys[:12])
    return types.SimpleNamespace(train=part, validation=held_out)


ADAM = adam()  # one object: a step is compiled for each optimiser


def how(**changes):
    return {"optimiser": ADAM, "epochs": 3, "batch_size": 10, "progress": False, **changes}


def weights(model) -> list[np.ndarray]:
    return [np.asarray(a) for a in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))]


def assert_same(a, b) -> None:
    for x, y in zip(weights(a), weights(b), strict=True):
        np.testing.assert_array_equal(x, y)


def stop_at(step: int, number: int = signal.SIGTERM):
    """A callback that sends this process a signal once a step is through."""

    def callback(run, event):
        if isinstance(event, no.Stepped) and run.progress.step == step:
            os.kill(os.getpid(), number)

    return callback


def noise(xs, *, key):
    return xs + 0.01 * jr.normal(key, xs.shape, jnp.float32)


RECIPES = {
    "plain": {},
    "average, noise and patience": {"average_decay": 0.9, "augment": noise, "patience": 2},
    "several steps a call": {"steps_per_call": 2},
    "rollbacks allowed": {"rollbacks": 2},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_that_is_stopped_and_resumed_is_the_run_that_was_not(recipe, tmp_path, capfd):
    arguments = how(**RECIPES[recipe])
    whole = no.fit(mlp_model(), splits(), folder=tmp_path / "whole", **arguments)
    for step in (2, 6, 14):  # 6 is the end of an epoch, before its validation
        with pytest.raises(no.Interrupted) as stop:
            no.fit(
                mlp_model(),
                splits(),
                folder=tmp_path / "parts",
                resume=True,
                callbacks=[stop_at(step)],
                **arguments,
            )
        assert stop.value.exit_code == 128 + signal.SIGTERM
    assert "finishing the step" in capfd.readouterr().err
    parts = no.fit(mlp_model(), splits(), folder=tmp_path / "parts", resume=True, **arguments)
    assert_same(whole.state, parts.state)
    assert_same(whole.best_model, parts.best_model)
    records = [no.read_records(tmp_path / run / "metrics.jsonl") for run in ("whole", "parts")]
    assert records[0] == records[1]
    assert [r["epoch"] for r in records[0] if r["kind"] == "validation"] == [1, 2, 3]
    assert [r["epoch"] for r in records[0] if r["kind"] == "train"] == [1] * 6 + [2] * 6 + [3] * 6
    # A folder changes nothing, and neither does going on with what is finished.
    assert_same(no.fit(mlp_model(), splits(), **arguments).state, whole.state)
    assert_same(no.fit(mlp_model(), splits(), folder=tmp_path / "parts", resume=True, **arguments).state, whole.state)


def test_a_finished_run_can_be_extended(tmp_path):
    longer = no.fit(mlp_model(), splits(), **how(epochs=5))
    no.fit(mlp_model(), splits(), folder=tmp_path, **how(epochs=2))
    extended = no.fit(mlp_model(), splits(), folder=tmp_path, resume=True, **how(epochs=5))
    assert_same(longer.state, extended.state)


def test_a_trained_model_is_trained_on(tmp_path):
    first = no.fit(mlp_model(), splits(), **how(folder=tmp_path / "a")).model
    no.save_arrays(tmp_path / "model.safetensors", first)
    still = {"optimiser": optax.sgd(1e-12), "epochs": 1, "seed": 1}
    second = no.fit(no.load_arrays(tmp_path / "model.safetensors", mlp_model()), splits(), **how(**still)).model
    for x, y in zip(weights(first), weights(second), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"batch_size": 12}, {"average_decay": 0.5}, {"splits": splits(48)}],
    ids=["seed", "batch_size", "average_decay", "data"],
)
def test_a_run_goes_on_only_with_what_it_began_with(change, tmp_path):
    no.fit(mlp_model(), splits(), folder=tmp_path, **how(epochs=1))
    data = change.pop("splits", splits())
    with pytest.raises((no.RunError, no.CheckpointError), match=r"began with|lacks"):
        no.fit(mlp_model(), data, folder=tmp_path, resume=True, **how(**change))


def test_validation_finds_the_best_model_and_patience_stops():
    seen = []

    def watch(run, event):
        if isinstance(event, no.EpochEnded):
            run.progress.best_accuracy = -1.0 if event.epoch < 3 else 2.0  # nothing is better from the third on
            seen.append(event.epoch)

    result = no.fit(mlp_model(), splits(), callbacks=[watch], **how(epochs=9, patience=2))
    assert seen == [1, 2, 3, 4, 5] and result.progress.stopped
    assert result.best_model is not None and result.progress.best_epoch == 3


def test_callbacks_see_the_run_and_can_stop_it():
    events = []

    def callback(run, event):
        events.append(type(event).__name__)
        if isinstance(event, no.EpochEnded) and event.epoch == 2:
            run.stop()

    result = no.fit(mlp_model(), splits(), callbacks=[callback], **how(epochs=9))
    assert result.progress.epoch == 2 and int(result.state.step) == 12
    assert events[0] == "Started" and events[-1] == "Stopped"
    assert events.count("Stepped") == 12 and events.count("EpochEnded") == 2


def test_what_follows_fails_and_the_run_still_ends(tmp_path):
    def callback(run, event):
        if isinstance(event, no.EpochEnded):
            raise KeyError("a mistake of the user's")

    ended = []
    with pytest.raises(KeyError):
        no.fit(
            mlp_model(),
            splits(),
            folder=tmp_path,
            callbacks=[callback, lambda run, event: ended.append(isinstance(event, no.Stopped))],
            **how(),
        )
    assert ended[-1]
    no.fit(mlp_model(), splits(), folder=tmp_path, resume=True, **how())  # the lock was given back


@pytest.mark.parametrize("folder", [True, False], ids=["folder", "memory"])
def test_a_diverging_run_goes_back_and_slows_down(folder, tmp_path):
    count = iter(range(1000))

    def update(updates, state, params=None):
        # In the second step of the second epoch the weights are lost, once.
        factor = jax.pure_callback(
            lambda: np.float32(np.inf if next(count) == 7 else 1), jax.ShapeDtypeStruct((), jnp.float32)
        )
        updates, state = ADAM.update(updates, state, params)
        return jax.tree.map(lambda u: u * factor, updates), state

    optimiser = optax.GradientTransformation(ADAM.init, update)
    result = no.fit(mlp_model(), splits(), folder=tmp_path if folder else None, **how(rollbacks=1, optimiser=optimiser))
    assert result.progress.rollbacks == 1 and result.progress.rate_scale == 0.5
    assert int(result.state.step) == 18
    assert all(np.isfinite(a).all() for a in weights(result.model))


def test_a_diverging_run_stops_with_its_last_good_weights(tmp_path):
    with pytest.raises(no.NonFiniteLossError, match="step"):
        no.fit(mlp_model(), splits(), folder=tmp_path, **how(optimiser=adam(1e30)))
    newest = max((tmp_path / "checkpoints").glob("step-*"))
    assert no.read_header(newest)["progress"]["step"] >= 1
    state = no.TrainState.create(mlp_model(), adam(), key=jr.key(0))
    assert all(np.isfinite(a).all() for a in weights(no.load_arrays(newest, state).model))


@pytest.mark.parametrize(
    "images",
    [
        lambda xs: (255 * xs).astype(np.uint8),
        lambda xs: jnp.asarray(xs),
        lambda xs: xs.astype(np.float64),
    ],
    ids=["uint8", "jax", "float64"],
)
def test_arrays_that_no_data_set_ever_saw(images):
    result = no.fit(mlp_model(), splits(images=images), **how(epochs=1))
    assert int(result.state.step) == 6


def test_vectors_are_images_too():
    class OnVectors(no.AbstractVectorField):
        linear: eqx.nn.Linear

        def encode(self, x, *, key=None):
            return x

        def __call__(self, t, z, features):
            return self.linear(jnp.concatenate([z, features]))

    xs, ys = blobs()
    part = types.SimpleNamespace(images=xs.reshape(len(xs), -1), labels=ys.astype(np.int64))
    model = no.NoPropCT(OnVectors(eqx.nn.Linear(7, 3, key=jr.key(0))), embedding=no.OneHot(3))
    data = types.SimpleNamespace(train=part, validation=None)
    result = no.fit(model, data, **how(epochs=2))
    assert result.best_model is None and int(result.state.step) == 12


def dt_model():
    def block(key):
        return no.nn.MLPField((2, 2, 1), 3, 3, width=8, time_size=8, key=key)

    return no.NoPropDT(no.Blocks(block, 2, key=jr.key(0)), embedding=no.OneHot(3))


def clipped(norm):
    inner = adam()
    clip = optax.clip_by_global_norm(norm)
    return optax.chain(clip, inner)


def test_blocks_are_optimised_apart():
    """With a global clip a block would depend on the gradients of the others; blockwise it does not."""
    seen = {}
    for name, optimiser in {"by itself": clipped(1e-3), "spelt out": no.blockwise(clipped(1e-3))}.items():
        result = no.fit(dt_model(), splits(), **how(optimiser=optimiser, epochs=1))
        seen[name] = weights(result.state)
        assert isinstance(result.state.opt_state, no.BlockwiseState)
    for a, b in zip(*seen.values(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 61}, "at most 60"),
        ({"seed": 2**32}, "seed"),
        ({"seed": -1}, "seed"),
        ({"rollbacks": -1}, "rollbacks"),
        ({"patience": 0}, "patience"),
        ({"keep": 0}, "keep"),
    ],
)
def test_arguments_that_cannot_be_used(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        no.fit(mlp_model(), splits(), folder=tmp_path / "new", **how(**change))
    assert not (tmp_path / "new").exists()


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    whole = no.fit(mlp_model(), splits(), **how())
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(no.RunError, match="No space left on device"):
            no.fit(mlp_model(), splits(), folder=tmp_path, checkpoint_seconds=0, **how())
    assert [p.name for p in tmp_path.rglob(".*") if p.name != ".noprop_ode.lock"] == []
    assert_same(no.fit(mlp_model(), splits(), folder=tmp_path, resume=True, **how()).state, whole.state)


@pytest.mark.parametrize("moment", [no.Stepped, no.EpochEnded, "while a file is written"], ids=str)
def test_a_folder_that_goes_away_stops_the_run_and_keeps_the_weights(moment, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    folder, fsync = tmp_path / "run", os.fsync

    def rename(run, event):
        if run.progress.step == 12 and folder.exists() and not isinstance(moment, str) and isinstance(event, moment):
            folder.rename(tmp_path / "elsewhere")

    def and_rename(descriptor):
        fsync(descriptor)
        if isinstance(moment, str) and (folder / "checkpoints" / "step-00000006.safetensors").exists():
            folder.rename(tmp_path / "elsewhere")

    monkeypatch.setattr(os, "fsync", and_rename)
    with pytest.raises(no.RunError, match="removed or renamed") as error:
        no.fit(mlp_model(), splits(), folder=folder, callbacks=[rename], **how())
    assert not folder.exists()
    (kept,) = tmp_path.glob("noprop_ode-*/*.safetensors")
    assert str(kept) in str(error.value)
    assert int(no.load_arrays(kept, no.TrainState.create(mlp_model(), adam(), key=jr.key(0))).step) >= 6


def test_the_schedule_reaches_the_records(tmp_path):
    rate = no.warmup_cosine(0.1, 18)
    no.fit(mlp_model(), splits(), folder=tmp_path, learning_rate=rate, **how())
    found = [r["learning_rate"] for r in no.read_records(tmp_path / "metrics.jsonl") if r["kind"] == "train"]
    np.testing.assert_allclose(found, [float(rate(i)) for i in range(18)], rtol=1e-6)


def test_progress_says_what_it_does_without_a_terminal(capsys):
    no.fit(mlp_model(), splits(), **how(progress=True))
    told = capsys.readouterr().err
    assert "compiling" in told and "epoch 3: validation accuracy" in told


def test_the_time_left_does_not_count_compilation(capsys, monkeypatch):
    now = [0.0]

    def slow(run, event):
        if isinstance(event, no.Stepped):
            now[0] += 100.0 if run.progress.step == 1 else 3.0

    monkeypatch.setattr(callbacks, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    no.fit(mlp_model(), splits(), **how(callbacks=[slow, no.ProgressBar()]))
    told = [line for line in capsys.readouterr().err.splitlines() if "left" in line]
    assert len(told) == 1 and "step 3 of 18" in told[0] and "about 45 s left" in told[0]
    assert "denoising" in told[0] and "readout" in told[0] and "prior" in told[0]


@pytest.mark.parametrize("columns", [60, 120])
def test_the_bar_fits_the_terminal(columns, capsys, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(callbacks.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    no.fit(mlp_model(), splits(), **how(progress=True))
    drawn = capsys.readouterr().err.replace("\r", "\n").split("\n")
    last = [line for line in drawn if line.startswith("epoch 3/3")][-1]
    assert len(last) <= columns and "100%" in last and "loss" in last, drawn
    assert ("d " in last and "p " in last) if columns == 60 else ("denoising " in last and "step 18/18" in last)


def test_a_signal_is_acknowledged_while_python_is_busy_elsewhere(capfd):
    """The main thread is in one long call, as in a compilation; the acknowledgement must not wait for its end."""
    seen, over = [], threading.Event()

    def press():
        time.sleep(0.3)  # until the main thread is in its call
        os.kill(os.getpid(), signal.SIGINT)
        while not over.is_set():
            time.sleep(0.01)
            if "SIGINT: finishing the step" in (seen.append(capfd.readouterr().err) or "".join(seen)):
                seen.append("in time" if not over.is_set() else "late")
                return

    with SignalGuard() as guard:
        thread = threading.Thread(target=press)
        thread.start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 6_000_000)  # some seconds without a handler
        over.set()
        thread.join()
        assert guard.interruption is not None and guard.interruption.exit_code == 130
    assert "in time" in seen and "".join(seen).count("SIGINT") == 1
    assert signal.set_wakeup_fd(-1) == -1
