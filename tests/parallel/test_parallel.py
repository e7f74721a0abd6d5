"""Several devices, which a process must have from its start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import noprop_ode as no


@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_on_eight_simulated_devices(which):
    here = Path(__file__)
    cases = str(here.with_name("cases.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", which, cases]
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    found = subprocess.run(command, cwd=here.parents[2], env=env, capture_output=True, text=True, timeout=800)
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]


@pytest.mark.parametrize("axes", [{"data": 0}, {"block": -1}])
def test_an_axis_has_at_least_one_device(axes):
    with pytest.raises(ValueError, match="at least one device on each axis"):
        no.Parallel(**axes)
