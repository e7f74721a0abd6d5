"""scikit-learn's own checks of what an estimator is; none is expected to fail."""

import pytest


pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator

import noprop_ode as no


def tiny(variant: str):
    return no.sklearn.NoPropClassifier(
        variant, hidden_sizes=(16,), num_blocks=2, epochs=15, batch_size=64, learning_rate=2e-2
    )


def name_of(check) -> str:
    return check.func.__name__


def checks(variant: str):
    # Each shape of row is compiled anew, for each variant. What of the others goes the same way as with CT is among the
    # slow tests; what does not, how they are built, stepped, kept and asked, in test_classifier.py.
    marks = () if variant == "ct" else pytest.mark.slow
    return [
        pytest.param(estimator, check, id=f"{variant}-{name_of(check)}", marks=marks)
        for estimator, check in estimator_checks_generator(tiny(variant))
    ]


@pytest.mark.parametrize("estimator, check", checks("ct") + checks("fm") + checks("dt"))
def test_passes(estimator, check):
    if name_of(check) != "check_classifiers_train":  # the one that asks how accurate it is
        estimator = clone(estimator).set_params(epochs=2)
    check(estimator)
