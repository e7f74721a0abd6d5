"""Evaluating a model with several predictions, and the table of the results."""

import math
import time
from collections.abc import Iterator, Sequence

import jax
import jax.random as jr

from .. import AbstractModel, Evaluation, Prediction, SolverError, data, encode, evaluate
from .._training.files import say
from .._training.processes import is_first
from .._types import Key
from ._config import Config


def evaluation_key(config: Config) -> Key:
    """The key for the final evaluation of a run, so that it can be repeated to the last digit."""
    return jr.fold_in(jr.key(config.training.seed), 2)


def evaluate_protocols(
    model: AbstractModel, test: data.Dataset, *, key: Key, how: dict[str, Prediction]
) -> dict[str, dict[str, float | None]]:
    """Evaluates a model with several predictions. Reports on standard error which one is running.

    **Arguments:**

    - `model`: the model.
    - `test`: images and labels.
    - `key`: randomness for draws and samplers.
    - `how`: the predictions by name, as from [`noprop_ode.experiment.protocols`][].

    **Returns:** by name, accuracy, nll, calibration_error, nfe (evaluations of the vector field per image), saved
    (evaluations saved by an early exit) and seconds; of several predictions, without the image branch, which they
    share. A comparison whose solver fails is left out.
    """
    results = {}
    for name, found, seconds in evaluate_each(model, test, list(how.items()), key=key, needed="default"):
        results[name] = {
            "accuracy": found.accuracy,
            "nll": found.nll,
            "calibration_error": found.calibration_error,
            "nfe": _known(found.num_evaluations),
            "saved": _known(found.num_saved),
            "seconds": round(seconds, 3),
        }
    return results


def evaluate_each(
    model: AbstractModel,
    dataset: data.Dataset,
    ways: Sequence[tuple[str, Prediction]],
    *,
    key: Key,
    needed: str | None = None,
) -> Iterator[tuple[str, Evaluation, float]]:
    """Evaluates predictions one after another, and reports on standard error which. One that fails must not cost the
    others: if its solver does, or the memory of a device is too small, that is reported, and it is left out.

    **Arguments:**

    - `model`, `dataset`: the model, images and labels.
    - `ways`: the predictions, each with a name; those of one name stand together.
    - `key`: randomness for draws and samplers, the same for all.
    - `needed`: the name of one whose failure is raised.

    **Yields:** the name, the results and the seconds of each; of several, without the image branch, which they share.
    """
    images, before = dataset.images, None
    if len(ways) > 1:  # the image branch is most of the cost of a prediction, and the same for all of them
        # All shifted predictions are shifted by the same number of pixels.
        mirror, shift = any(how.mirror for _, how in ways), max(how.shift for _, how in ways)
        images = encode(model, images, mirror=mirror, shift=shift)
    for name, how in ways:
        if name != before and is_first():
            say(f"evaluating: {name} ...")  # a thousand steps may take minutes
        before, start = name, time.perf_counter()
        try:
            found = evaluate(model, images, dataset.labels, key=key, prediction=how)
        except (SolverError, jax.errors.JaxRuntimeError) as error:
            # An early exit takes the weights of blocks once for each image, which may be too much for a GPU.
            if name == needed or not (isinstance(error, SolverError) or "RESOURCE_EXHAUSTED" in str(error)):
                raise
            if is_first():
                say(f"warning: {name}: {str(error).splitlines()[0]}")
            continue
        yield name, found, time.perf_counter() - start


def print_table(results: dict[str, dict[str, float | None]]) -> None:
    """Prints the results of `evaluate_protocols`."""
    print(f"{'protocol':20s} {'accuracy':>8s} {'nll':>8s} {'ece':>6s} {'nfe':>7s} {'seconds':>8s}")
    for name, row in results.items():
        nfe = "" if row["nfe"] is None else f"{row['nfe']:.1f}"
        print(
            f"{name:20s} {row['accuracy']:8.4f} {row['nll']:8.4f} {row['calibration_error']:6.4f} {nfe:>7s} "
            f"{row['seconds']:8.2f}"
        )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
