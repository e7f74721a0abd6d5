"""The tests of the classifier run as a user runs it: optax itself relies on implicit promotion."""

import jax
import pytest
from classifiers import VARIANTS, table, tiny


@pytest.fixture(autouse=True)
def implicit_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="session")
def fitted():
    with jax.numpy_dtype_promotion("standard"):
        return {variant: tiny(variant).fit(*table()) for variant in VARIANTS}
