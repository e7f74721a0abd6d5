"""The tests of the classifier run as a user runs it: optax itself relies on implicit promotion."""

import jax
import pytest


@pytest.fixture(autouse=True)
def implicit_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield
