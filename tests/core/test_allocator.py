"""Memory that is freed and asked for again."""

import os
import platform
import subprocess
import sys

import pytest


# Training steps whose intermediate results are tens of megabytes, of a network that compiles quickly.
SCRIPT = """
import resource, sys
import jax.random as jr, numpy as np, optax
import noprop_ode as no

if sys.argv[1] == "keep":
    assert no.keep_freed_memory()
field = no.nn.MLPField((8, 8, 1), 10, 10, width=512, key=jr.key(0))
state = no.TrainState.create(no.NoPropCT(field, embedding=no.OneHot(10)), optax.adamw(1e-3), key=jr.key(1))
batch = np.zeros((2048, 8, 8, 1), np.uint8), np.zeros(2048, np.int32)
faults = []
for state, metrics in no.train(state, [batch] * 10):
    float(metrics.loss)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(int(np.median(np.diff(faults)[-6:])))  # a heap may still grow in a step or two
"""


def page_faults(mode: str, programs) -> int:
    own = {"JAX_COMPILATION_CACHE_DIR": str(programs), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, "-c", SCRIPT, mode]
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | own)
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of another C library")
def test_kept_memory_is_not_faulted_in_again(tmp_path) -> None:
    assert page_faults("keep", tmp_path) < page_faults("leave", tmp_path) / 10
