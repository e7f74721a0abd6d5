"""Every test runs without implicit promotion of dtypes or ranks."""

import gc
import os
from pathlib import Path

import jax
import pytest

from noprop_ode.experiment._random_numbers import compile_random_numbers_fast


jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Nearly all of the time goes into compiling programs that then run once: a quarter less without optimising them.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_traceback_in_locations_limit", 0)  # and what is compiled names no lines of code
compile_random_numbers_fast()
# Commands, in this process or in one of their own, compile what they run: no test depends on what ran before it.
os.environ["NOPROP_ODE_PROGRAMS"] = "off"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # the same in processes that a test starts
# And of what is left half, with the older way to emit loops, in one piece. XLA aborts where it does not know a flag.
if (0, 10) <= jax.__version_info__ < (0, 11):
    quick = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{quick} {os.environ.get('XLA_FLAGS', '')}".strip()

# The files that take longest, most of them with few tests. Workers begin with them: the last would be waited for.
LONGEST = (
    "test_parallel.py",
    "test_processes.py",
    # They forget the programs of their process, which it has fewest of at the start.
    "test_counts.py",
    "test_random_numbers.py",
    "test_programs.py",
    "test_docs.py",
    "test_check_estimator.py",
    "test_run_scripts.py",
    "test_classifier.py",
    "test_apart.py",
    "test_runs.py",
    "test_config.py",
    "test_fit.py",
)


# Files whose tests compile the same programs: one worker runs them, one after another.
TOGETHER = {
    **dict.fromkeys(("test_classifier.py", "test_classifier_files.py", "test_classifier_fits.py"), "classifier"),
    **dict.fromkeys(("test_runs.py", "test_run_lengths.py", "test_run_logs.py"), "runs"),
    **dict.fromkeys(("test_fit.py", "test_fit_befallen.py", "test_fit_ends.py", "test_fit_refuses.py"), "fit"),
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid):
            name = nodeid.partition("::")[0]
            return TOGETHER.get(Path(name).name, name)

    return Together(config, log)


def pytest_configure(config):
    if hasattr(config.option, "loadscopereorder"):  # of pytest-xdist: the files of the most tests first
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    place = {name: k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def pytest_collection_finish():
    """Nothing that was imported is garbage: Python's collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture
def key():
    return jax.random.key(20250)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Compiled programs hold memory maps, of which Linux grants a process 65,530: a long session would crash."""
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_bytes().count(b"\n") > 15_000:
        jax.clear_caches()
        gc.collect()
