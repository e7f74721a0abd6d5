"""A long run does not grow."""

import os
import resource
from pathlib import Path

import jax
import pytest

import noprop_ode as no
from noprop_ode.experiment import Config, _run as run_module, run


def resident_mib() -> float:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("resident memory is read from /proc")
    return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20


@pytest.mark.slow
def test_ten_thousand_steps_do_not_grow_in_memory(tmp_path, monkeypatch):
    config = Config.from_plain(
        {
            "data": {"name": "digits"},
            "model": {"field": {"type": "mlp", "width": 32}},
            "training": {"epochs": 1000, "validate_every": 50, "average_decay": 0.99},
            "prediction": {"protocols": []},
            "output": {"dir": str(tmp_path / "run")},
        }
    )
    sizes = {}

    def measure(run, event):
        if isinstance(event, no.EpochEnded):
            sizes[run.progress.step] = resident_mib()

    monkeypatch.setattr(run_module, "_callbacks", lambda config: [measure])
    monkeypatch.setattr(run_module, "draw_plots", lambda *args, **how: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a thousand checkpoints need not reach the disk
    with jax.numpy_dtype_promotion("standard"):
        summary = run(config)
    assert summary["steps"] == 10_000
    print({step: round(size) for step, size in sizes.items() if step % 1000 == 0})
    assert sizes[10_000] - sizes[2_000] < 20
