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
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | own, timeout=300)
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of another C library")
def test_kept_memory_is_not_faulted_in_again(tmp_path) -> None:
    assert page_faults("keep", tmp_path) < page_faults("leave", tmp_path) / 10


COPIES = """
import resource, sys
import jax, jax.numpy as jnp
import noprop_ode as no
from noprop_ode._training.copies import taken_over

if sys.argv[1] == "keep":
    assert no.keep_freed_memory()
tree = jax.block_until_ready([jnp.full(2**24, n, jnp.float32) for n in range(4)])  # 64 MiB each
before, trees = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, [tree]
del tree
found = taken_over(trees)
assert [int(array[-1]) for array in found] == [0, 1, 2, 3]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 2**16)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of another C library")
@pytest.mark.parametrize("mode", ["keep", "leave"])
def test_taking_over_large_arrays_takes_the_memory_of_one(mode) -> None:
    """Kept memory too: the place of an array that was freed is given back, not left empty beside its copy."""
    command = [sys.executable, "-c", COPIES, mode]
    more = int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)
    assert more <= 2, f"{more} arrays of four"


BLOCKS = """
import jax, jax.numpy as jnp, jax.random as jr
import noprop_ode as no

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) // 2**10

assert no.keep_freed_memory()
make = lambda key: no.nn.MLPField((8, 8, 1), 10, 10, width=1024, key=key)
make(jr.key(0)), jnp.stack([jnp.zeros(2**20)] * 8)  # compiled before anything is counted
before = resident()
blocks = no.Blocks(make, 8, key=jr.key(0))
size = sum(a.nbytes for a in jax.tree.leaves(blocks) if hasattr(a, "nbytes")) // 2**20
print(resident() - before, size)
"""


@pytest.mark.skipif(platform.system() != "Linux" or platform.libc_ver()[0] != "glibc", reason="glibc's, by /proc")
def test_blocks_leave_nothing_of_what_they_were_stacked_from() -> None:
    command = [sys.executable, "-c", BLOCKS]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    more, size = map(int, found.split())
    assert more <= 1.25 * size, f"{more} MiB for weights of {size} MiB"
