"""Every test runs without implicit promotion of dtypes or ranks."""

import os

import jax
import pytest


jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Nearly all of the time goes into compiling programs that then run once: a quarter less without optimising them.
jax.config.update("jax_disable_most_optimizations", True)
# Commands, in this process or in one of their own, compile what they run: no test depends on what ran before it.
os.environ["NOPROP_ODE_PROGRAMS"] = "off"


@pytest.fixture
def key():
    return jax.random.key(20250)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Compiled programs hold memory maps, of which a process has so many: a long session would crash."""
    yield
    jax.clear_caches()
