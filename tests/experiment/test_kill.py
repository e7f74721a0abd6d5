"""Runs that are killed without warning, at any moment, and resumed until they are done."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest

from noprop_ode import read_records
from noprop_ode.experiment import load_model


TRAIN = Path(__file__).parents[2] / "experiments" / "train.py"
# A checkpoint after every step, so that many kills fall into the writing of one.
SETTINGS = (
    "digits_ct --field mlp --model.field.width 256 --epochs 40 --protocols paper --paper_steps 5 "
    "--checkpoint_seconds 0 --average_decay 0.99 --out run"
).split()


def start(folder: Path, environment: dict[str, str]) -> subprocess.Popen:
    begun = (folder / "run" / "config.yaml").exists()
    arguments = ["--resume", "run"] if begun else SETTINGS
    command = [sys.executable, "-u", str(TRAIN), *arguments]
    with open(folder / "log.txt", "a") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)


def finish(folder: Path, environment: dict[str, str]) -> None:
    assert start(folder, environment).wait(timeout=600) == 0, (folder / "log.txt").read_text()[-2000:]


def half_written(folder: Path) -> bool:
    """Whether a checkpoint is being written at this moment, or was when the run was killed."""
    try:
        return any(name.startswith(".noprop_ode-") for name in os.listdir(folder / "run" / "checkpoints"))
    except FileNotFoundError:
        return False


def newest_write(folder: Path) -> float:
    paths = list((folder / "run").rglob("*")) if (folder / "run").exists() else []
    times = [0.0]
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times)


@pytest.mark.slow
def test_killed_runs_end_as_the_run_that_was_not(tmp_path):
    """NOPROP_ODE_KILLS sets the number of kills, 50 by default; what happened is printed with -s."""
    kills = int(os.environ.get("NOPROP_ODE_KILLS", "50"))
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    whole = tmp_path / "whole"
    whole.mkdir()
    finish(whole, environment)
    expected = jax.tree.leaves(eqx.filter(load_model(whole / "run")[0], eqx.is_array))

    rng = random.Random(0)
    done = runs = during_training = partial = 0
    while done < kills:
        folder = tmp_path / f"killed-{runs}"
        folder.mkdir()
        runs += 1
        for _ in range(10):
            process = start(folder, environment)
            before, moment = time.time(), rng.random()
            # Some kills fall anywhere, imports included; most wait for training; of these some for a half-written file.
            if moment < 0.8:
                while process.poll() is None and newest_write(folder) < before:
                    time.sleep(0.01)
            time.sleep(rng.uniform(0, 3))
            while moment < 0.3 and process.poll() is None and not half_written(folder):
                pass
            if process.poll() is not None:
                break  # it was done first
            during_training += newest_write(folder) > before
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
            partial += half_written(folder)
            if done == kills:
                break
        if not (folder / "run" / "summary.json").exists():
            finish(folder, environment)
        found = jax.tree.leaves(eqx.filter(load_model(folder / "run")[0], eqx.is_array))
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_array_equal(a, b)
        assert read_records(whole / "run" / "metrics.jsonl") == read_records(folder / "run" / "metrics.jsonl")
    print(f"{done} kills in {runs} runs, {during_training} after training began, {partial} while a file was written")
    assert during_training > done / 3 and partial > 0
