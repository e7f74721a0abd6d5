"""Classifiers and data as the tests of the estimator have them."""

import numpy as np

import noprop_ode as no


VARIANTS = ("ct", "fm", "dt")


def tiny(variant="ct", **how):
    settings = {"hidden_sizes": (16,), "num_blocks": 2, "epochs": 60, "batch_size": 64, "learning_rate": 1e-2}
    return no.sklearn.NoPropClassifier(variant, random_state=0, **{**settings, **how})


def table(n=60, *, seed=0):
    """Three classes of rows with five features, far apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return rng.normal(size=(n, 5)) + 4 * np.eye(5)[y], y


def pictures(n=30, size=2):
    """Grey images that are brighter the higher their class."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return (rng.integers(0, 40, (n, size, size, 1)) + 80 * y[:, None, None, None]).astype(np.uint8), y


def same_predictions(a, b, X):
    return np.array_equal(a.predict_proba(X), b.predict_proba(X))
