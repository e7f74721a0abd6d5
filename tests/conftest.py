"""Every test runs without implicit promotion of dtypes or ranks."""

import jax
import pytest


jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Nearly all of the time goes into compiling programs that then run once: a quarter less without optimising them.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def key():
    return jax.random.key(20250)


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Compiled programs hold memory maps, of which a process has so many: a long session would crash."""
    yield
    jax.clear_caches()
