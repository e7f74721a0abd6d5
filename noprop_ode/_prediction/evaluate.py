"""How good predictions are, and what they cost."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Integer

from .._check import check_labels, check_on_host
from .._choices import AbstractDecoder, AbstractSampler, Prediction, Start
from .._model import AbstractModel
from .._types import Key
from .predict import predict_with_evaluations
from .prediction import complete
from .views import views_asked


class Evaluation(NamedTuple):
    """How good predictions are, and what they cost.

    - `accuracy`: share of images whose most probable class is the true one.
    - `nll`: mean negative log-likelihood of the true class, in nats.
    - `calibration_error`: expected calibration error, in [0, 1].
    - `probability`: mean probability of the true class: how often a class drawn from the probabilities is right. If a
        trajectory is such a sample, this is its accuracy.
    - `num_evaluations`: mean number of vector field evaluations per image; NaN if unknown.
    - `num_saved`: mean number of evaluations per image that [`noprop_ode.EarlyExit`][] saved: 0 without it, negative
        if its checks cost more than they saved, NaN if unknown, as with adaptive steps.
    - `num_examples`: number of images.
    """

    accuracy: float
    nll: float
    calibration_error: float
    probability: float
    num_evaluations: float
    num_saved: float
    num_examples: int


def evaluate(
    model: AbstractModel,
    xs: Any,
    ys: Any,
    *,
    key: Key,
    prediction: Prediction | None = None,
    start: Start | None = None,
    sampler: AbstractSampler | None = None,
    decoder: AbstractDecoder | None = None,
    draws: int | None = None,
    mirror: bool | None = None,
    shift: int | None = None,
    batch_size: int = 500,
) -> Evaluation:
    """Predicts many images and compares the results with their labels, which never reach the model.

    **Arguments:** as for [`noprop_ode.predict_log_proba`][], and

    - `ys`: the true classes, `[n]`.

    **Returns:** accuracy, negative log-likelihood, calibration error and number of vector field evaluations.

    **Raises:** as `predict_log_proba`, and `ValueError` or `TypeError` for invalid labels.
    """
    check_on_host(model, xs, ys)
    check_labels(ys, model.embedding.num_classes, len(xs))
    how = complete(
        model, prediction, start=start, sampler=sampler, decoder=decoder, draws=draws, mirror=mirror, shift=shift
    )
    full = how.sampler.full_evaluations(t1=how.decoder.t1(how.sampler)) + how.decoder.num_evaluations
    log_ps, evaluations = predict_with_evaluations(model, xs, how, key=key, batch_size=batch_size)
    num_evaluations = float(np.mean(np.asarray(evaluations), dtype=np.float64))
    return Evaluation(
        **score(log_ps, ys)._asdict(),
        num_evaluations=num_evaluations,
        num_saved=len(views_asked(how)) * how.draws * full - num_evaluations,
        num_examples=len(ys),
    )


class Score(NamedTuple):
    """How good class probabilities are: `accuracy`, `nll`, `calibration_error` and `probability`, as in
    [`noprop_ode.Evaluation`][]."""

    accuracy: float
    nll: float
    calibration_error: float
    probability: float


def score(log_ps: Float[Array | np.ndarray, "n classes"], ys: Any) -> Score:
    """Compares class probabilities with the true classes, wherever they come from: several models averaged, a
    temperature, or [`noprop_ode.predict_log_proba`][] alone.

    **Arguments:**

    - `log_ps`: normalised log-probabilities, `[n, classes]`, in nats.
    - `ys`: the true classes, `[n]`.

    **Returns:** the scores. Images whose probabilities are NaN count as wrong, and make the others NaN.

    **Raises:** `ValueError` or `TypeError` for invalid labels; `ValueError` for probabilities that do not add up to 1.
    """
    log_ps, ys = np.asarray(log_ps), np.asarray(ys)
    _check_normalised(log_ps)
    check_labels(ys, log_ps.shape[1], len(log_ps))
    of_true = log_ps[np.arange(len(ys)), ys]
    return Score(
        # Where probabilities are NaN no class is predicted; `argmax` would say the first.
        accuracy=float(np.mean((log_ps.argmax(axis=-1) == ys) & ~np.isnan(log_ps).any(axis=-1))),
        nll=-float(np.mean(of_true, dtype=np.float64)),
        calibration_error=calibration_error(log_ps, ys),
        probability=float(np.mean(np.exp(of_true), dtype=np.float64)),
    )


def calibration_error(
    log_ps: Float[Array | np.ndarray, "n classes"], ys: Integer[Array | np.ndarray, " n"], *, num_bins: int = 15
) -> float:
    r"""The expected calibration error: $\sum_b \frac{n_b}{n} |\mathrm{accuracy}_b - \mathrm{confidence}_b|$ over
    bins b of equal width in the confidence, the probability of the most probable class.

    ??? cite "Reference"

        Guo, Pleiss, Sun and Weinberger, *On Calibration of Modern Neural Networks*, 2017 (arXiv 1706.04599), eq. 3.

    **Arguments:**

    - `log_ps`: log-probabilities, `[n, classes]`, in nats.
    - `ys`: the true classes, `[n]`.
    - `num_bins`: number of bins.

    **Returns:** the error, in [0, 1]; NaN if any probability is NaN.

    **Raises:** `ValueError` for no bin, or probabilities that do not add up to 1.
    """
    if num_bins < 1:
        raise ValueError(f"Confidences are sorted into at least one bin; got num_bins={num_bins}.")
    log_ps, ys = np.asarray(log_ps), np.asarray(ys)
    _check_normalised(log_ps)
    if np.isnan(log_ps).any():
        return float("nan")
    confidence = np.exp(log_ps.max(axis=-1).astype(np.float64))
    correct = (log_ps.argmax(axis=-1) == ys).astype(np.float64)
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(ys))


def _check_normalised(log_ps: np.ndarray) -> None:
    """Refuses what are not log-probabilities; those of low precision are not exact, and NaN is reported elsewhere."""
    with np.errstate(over="ignore"):
        sums = np.exp(log_ps.astype(np.float64)).sum(axis=-1)
    if (wrong := np.flatnonzero(np.abs(sums - 1) > 0.05)).size:
        row = int(wrong[0])
        raise ValueError(
            f"Expected normalised log-probabilities, whose exponentials add up to 1 in each row; got {sums[row]:.3g} "
            f"in row {row}. Take jax.nn.log_softmax of logits, and jax.numpy.log of probabilities."
        )
