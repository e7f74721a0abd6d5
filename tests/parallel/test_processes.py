"""Several processes that train one model: real ones, of one or two simulated devices each."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import job
import numpy as np
import pytest

import noprop_ode as no


HERE = Path(__file__)
JOB = HERE.with_name("job.py")


@pytest.fixture(scope="module", autouse=True)
def programs(tmp_path_factory):
    """Most of a process is compiling: a run that goes on takes the programs of the runs before it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("programs")))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


def start(arguments, processes=2, devices=1):
    """As many processes as asked for, each told of the others by its environment; one process of its own for 1."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    started = []
    for number in range(processes):
        env = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
            "PYTHONPATH": f"{HERE.parents[2]}:{HERE.parents[1]}",
        }
        if processes > 1:
            env |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(processes)}
            env |= {"JAX_PROCESS_ID": str(number)}
        started.append(
            subprocess.Popen(
                [sys.executable, *(arguments if isinstance(arguments, list) else [str(JOB), json.dumps(arguments)])],
                cwd=HERE.parents[2],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return started


def ended(started, timeout=240):
    """Exit codes and output of processes, none of which outlives the test."""
    try:
        found = [process.communicate(timeout=timeout)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    return [process.returncode for process in started], found


def trained(tmp_path, name, *, devices=1, **settings):
    """What a run in several processes arrives at; without axes, one in this process."""
    folder = tmp_path / name
    if settings["axes"] is None:
        model, found = job.run(settings["kind"], None, folder)
        return numbers(model), found
    out = folder.with_suffix(".safetensors")
    codes, output = ended(start({"folder": str(folder), "out": str(out), **settings}, devices=devices))
    assert set(codes) == {0}, "\n".join(output)
    return read(out, settings["kind"])


def read(out, kind):
    """The arrays and the figures that a job saved."""
    arrays = no.load_arrays(out, job.model(kind))
    return numbers(arrays), no.read_header(out)


def numbers(model):
    return [np.asarray(a) for a in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))]


def assert_close(found, expected):
    for a, b in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found[1]["losses"], expected[1]["losses"], rtol=1e-4)
    np.testing.assert_allclose(found[1]["figures"], expected[1]["figures"], rtol=1e-3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs that nothing happened to, by what they are trained on."""
    folder = tmp_path_factory.mktemp("whole")
    return {
        "two": trained(folder, "two", kind="one-hot", axes={"block": 2}),
        "one": trained(folder, "one", kind="one-hot", axes=None),
    }


def checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("step-*"))


def stopped(tmp_path, axes):
    """A run in two processes, one of which is sent a signal after step 6, in `kept` and once more in `other`.

    **Returns:** the name of its newest checkpoint.
    """
    kept = tmp_path / "kept"
    codes, output = ended(start({"kind": "one-hot", "axes": axes, "folder": str(kept), "stop_at": 6}))
    assert codes == [143, 143], "\n".join(output)
    shutil.copytree(kept, tmp_path / "other")
    return checkpoints(kept)[-1]


def test_two_processes_stop_after_the_same_step_go_on_and_give_the_numbers_of_one(tmp_path):
    assert stopped(tmp_path, {"block": 2}) == "step-00000006.safetensors"
    two = trained(tmp_path, "kept", kind="one-hot", axes={"block": 2})
    one = trained(tmp_path, "one", kind="one-hot", axes=None)
    one[1]["losses"] = one[1]["losses"][6:]
    assert_close(two, one)
    assert_close(trained(tmp_path, "other", kind="one-hot", axes=None), one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, axes, devices",
    [
        ("learned", {"data": 2, "block": 2}, 2),
        ("learned", {"data": 2, "shard_weights": True}, 1),
        ("one-hot", {"block": 4}, 2),
    ],
)
def test_any_layout_on_two_processes_gives_the_numbers_of_one(kind, axes, devices, tmp_path):
    found = trained(tmp_path, "two", kind=kind, axes=axes, devices=devices)
    assert_close(found, trained(tmp_path, "one", kind=kind, axes=None))


@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_to_the_same_bits(whole, tmp_path):
    assert stopped(tmp_path, {"block": 2}) == "step-00000006.safetensors"
    same = trained(tmp_path, "kept", kind="one-hot", axes={"block": 2})
    for a, b in zip(same[0], whole["two"][0], strict=True):
        np.testing.assert_array_equal(a, b)
    other = trained(tmp_path, "other", kind="one-hot", axes=None)
    for a, b in zip(other[0], whole["one"][0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_each_process_writes_its_part_and_the_run_goes_on_alike_or_elsewhere(whole, tmp_path):
    pytest.importorskip("orbax.checkpoint")
    axes = {"block": 2, "sharded_checkpoints": True}
    assert stopped(tmp_path, axes) == "step-00000006"
    assert (tmp_path / "kept" / "checkpoints" / "step-00000006").is_dir()
    same = trained(tmp_path, "kept", kind="one-hot", axes=axes)
    for a, b in zip(same[0], whole["two"][0], strict=True):
        np.testing.assert_array_equal(a, b)
    other = trained(tmp_path, "other", kind="one-hot", axes=None)
    for a, b in zip(other[0], whole["one"][0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert checkpoints(tmp_path / "other")[-1].endswith(".safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_takes_the_other_along_within_a_minute_and_the_run_goes_on(victim, whole, tmp_path):
    how = {"kind": "one-hot", "axes": {"block": 2}, "folder": str(tmp_path / "kept")}
    started = start({**how, "stop_at": 6, "number": int(signal.SIGKILL), "victim": victim})
    try:
        started[victim].communicate(timeout=240)
        began = time.monotonic()
        output = started[1 - victim].communicate(timeout=60)[0]
        assert time.monotonic() - began < 60
    finally:
        for process in started:
            process.kill()
    assert started[1 - victim].returncode != 0
    assert f"Another process of this run has ended, or cannot be reached, and process {1 - victim}" in output
    again = trained(tmp_path, "kept", kind="one-hot", axes={"block": 2})
    for a, b in zip(again[0], whole["two"][0], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_the_command_trains_on_two_processes_and_goes_on_in_one(tmp_path):
    kept = tmp_path / "kept"
    small = ["--model.variant.num_blocks", "2", "--model.field", "mlp", "--prediction.protocols", "paper"]
    both = ["--parallel.block", "2", "--parallel.distributed", "true", "--epochs", "1", "--out", str(kept)]
    command = ["experiments/train.py", "digits_dt", *small, *both]
    codes, output = ended(start(command))
    assert codes == [0, 0], "\n".join(output)
    assert "test_accuracy=" in output[0] and "test_accuracy=" not in output[1]
    assert json.loads((kept / "summary.json").read_text())["device"]["count"] == 2
    codes, output = ended(start(command))
    assert codes == [2, 2]
    assert all("already holds a finished run" in text for text in output)
    alone = ["--parallel.block", "1", "--parallel.distributed", "false", "--epochs", "2"]
    codes, output = ended(start(["experiments/train.py", "--resume", str(kept), *alone], processes=1))
    assert codes == [0], output[0]


def test_who_cannot_meet_the_others_is_told_how(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(no.RunError, match="JAX_NUM_PROCESSES: expected a whole number; got 'two'"):
        no.start_processes()
    monkeypatch.delenv("JAX_NUM_PROCESSES")
    with pytest.raises(no.RunError, match=r"set JAX_COORDINATOR_ADDRESS .* in the environment of each"):
        no.start_processes()
