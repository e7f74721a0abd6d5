"""`fit` where something is in its way, and what it says meanwhile."""

import errno
import hashlib
import os
import signal
import threading
import time
import types

import jax
import jax.random as jr
import numpy as np
import pytest
from fits import assert_same, how, splits
from helpers import adam, mlp_model

import noprop_ode as no
from noprop_ode._training import callbacks, resume, signals
from noprop_ode._training.signals import SignalGuard, interruption


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
    np.testing.assert_allclose(found, [float(rate(i)) for i in range(18)], rtol=1e-5)


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

    with pytest.raises(no.Interrupted), SignalGuard() as guard:
        thread = threading.Thread(target=press, daemon=True)
        thread.start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 6_000_000)  # some seconds without a handler
        over.set()
        thread.join()
        stop = interruption(guard.received)
        assert stop is not None and stop.exit_code == 130
    assert "in time" in seen and "".join(seen).count("SIGINT") == 1
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize(
    "number, seconds, stops_at_once",
    [(signal.SIGTERM, 60.0, False), (signal.SIGTERM, 0.0, True), (signal.SIGINT, 60.0, True)],
)
def test_the_second_signal_stops_at_once_unless_a_scheduler_sent_it_twice(monkeypatch, number, seconds, stops_at_once):
    monkeypatch.setattr(signals, "_ECHO_SECONDS", seconds)
    seen = []
    before = signal.signal(number, lambda number, frame: seen.append(number))
    try:
        with pytest.raises(no.Interrupted), SignalGuard() as guard:
            signal.raise_signal(number)
            assert guard.received == number and seen == []
            signal.raise_signal(number)
            assert seen == ([number] if stops_at_once else [])
    finally:
        signal.signal(number, before)


def test_processes_that_differ_are_told_so(tmp_path, monkeypatch):
    """Before they wait for each other without end, or train other weights each."""
    model, mine = mlp_model(), {"batch_size": 10, "seed": 0}
    resume._refuse_unlike(model, mine)
    for told, message in (
        (lambda v: [{**v[0], "seed": 1}, v[1]], "have different seed;"),
        (lambda v: [v[0], [1.01 * w for w in v[1]]], "have different initial weights;"),
        (lambda v: [v[0], v[1][1:]], "have different initial weights;"),
    ):
        monkeypatch.setattr(resume, "tell", told)
        with pytest.raises(no.RunError, match=message):
            resume._refuse_unlike(model, mine)
    monkeypatch.setattr(resume, "tell", lambda v: [v[0], [w * (1 + 1e-7) for w in v[1]]])
    resume._refuse_unlike(model, mine)  # made on other hardware
    monkeypatch.setattr(resume, "tell", lambda v: [{**v[0], "seed": 1}, v[1]] if isinstance(v, list) else v)
    monkeypatch.setattr(resume, "jax", types.SimpleNamespace(process_count=lambda: 2, tree=jax.tree))
    with pytest.raises(no.RunError, match="have different seed;"):
        no.fit(model, splits(), folder=tmp_path, **how())
