"""The classifier with scikit-learn's interface, compared with scikit-learn's own, on its 8x8 digits.

Each seed splits off a quarter of the 1,797 digits for testing, by class, and fits every classifier on the rest: those
of scikit-learn after a `StandardScaler`, ours on the raw rows. All have default settings except for the seed and the
epochs that the table names. The first fit of a process compiles; later ones have the same shapes and do not. Times are
wall-clock times, with CPU time summed over cores in brackets, which a busy machine changes less.

    python benchmarks/sklearn_digits.py --seeds 5
"""

import argparse
import time
from collections.abc import Callable

import jax
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import noprop_ode as no


def scaled(classifier):
    return make_pipeline(StandardScaler(), classifier)


def ours(**how) -> Callable:
    return lambda seed: no.sklearn.NoPropClassifier(random_state=seed, **how)


CLASSIFIERS = {
    "NoPropClassifier('ct')": ours(),
    "NoPropClassifier('dt')": ours(variant="dt"),
    "NoPropClassifier('fm', epochs=100)": ours(variant="fm", epochs=100),
    "MLPClassifier()": lambda seed: scaled(MLPClassifier(random_state=seed)),
    "LogisticRegression()": lambda seed: scaled(LogisticRegression(random_state=seed)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    X, y = load_digits(return_X_y=True)

    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, seeds 0 to {args.seeds - 1}\n")
    print("| classifier | first fit | further fits, median | predict | test accuracy, mean (least) |")
    print("|---|---|---|---|---|")
    for name, make in CLASSIFIERS.items():
        fits, predictions, accuracies = [], [], []
        for seed in range(args.seeds):
            X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=seed)
            start = now()
            classifier = make(seed).fit(X_train, y_train)
            fits.append(now() - start)
            start = now()
            accuracies.append(classifier.score(X_test, y_test))
            predictions.append(now() - start)
        further, predict = (
            np.median(fits[1:], axis=0) if fits[1:] else np.full(2, np.nan),
            np.median(predictions, axis=0),
        )
        print(
            f"| `{name}` | {shown(fits[0])} | {shown(further)} | {shown(predict)} | "
            f"{np.mean(accuracies):.4f} ({min(accuracies):.4f}) |",
            flush=True,
        )


def now() -> np.ndarray:
    """Wall-clock time and CPU time, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def shown(seconds: np.ndarray) -> str:
    """Wall-clock time, with CPU time in brackets."""
    return f"{seconds[0]:.2f} s ({seconds[1]:.2f} s)"


if __name__ == "__main__":
    main()
