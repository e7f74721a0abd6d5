"""scikit-learn's own checks of what an estimator is; none is expected to fail."""

import pytest


pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import estimator_checks_generator

import noprop_ode as no


# What the variants could do differently: how they are built, stepped, kept and asked. Each shape of row is compiled
# anew, and these have two, so that they are quick; the others of the variants are among the slow tests.
OF_VARIANTS = {
    "check_dict_unchanged",
    "check_estimators_pickle",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
}


def tiny(variant: str):
    return no.sklearn.NoPropClassifier(
        variant, hidden_sizes=(16,), num_blocks=2, epochs=15, batch_size=64, learning_rate=2e-2
    )


def name_of(check) -> str:
    return check.func.__name__


def checks(variant: str):
    def marks(check):
        return () if variant == "ct" or name_of(check) in OF_VARIANTS else pytest.mark.slow

    return [
        pytest.param(estimator, check, id=f"{variant}-{name_of(check)}", marks=marks(check))
        for estimator, check in estimator_checks_generator(tiny(variant))
    ]


@pytest.mark.parametrize("estimator, check", checks("ct") + checks("fm") + checks("dt"))
def test_passes(estimator, check):
    check(estimator)


def test_the_checks_of_variants_exist():
    assert {name_of(check) for _, check in estimator_checks_generator(tiny("ct"))} > OF_VARIANTS
