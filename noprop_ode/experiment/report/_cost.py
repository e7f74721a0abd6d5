"""Accuracy, likelihood and calibration against evaluations of the vector field."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import diffrax
import numpy as np

from ... import (
    ODE,
    AbstractGaussianModel,
    AbstractModel,
    Ancestral,
    Blocks,
    DenoiserDecoder,
    EnsembleDecoder,
    Prediction,
    ReadoutDecoder,
    data,
)
from ..._types import AnyPath, Key
from .._evaluate import evaluate_each
from . import _canvas


_MARKERS = "osD^vPX<>"
_MANY = 1000  # steps that are as good as exact


def ways_by_cost(
    model: AbstractModel, counts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)
) -> dict[str, Sequence[Prediction]]:
    """Predictions of several kinds, each with a growing number of evaluations.

    **Arguments:**

    - `model`: the model.
    - `counts`: numbers of steps.

    **Returns:** by name: samplers from one draw of noise to the readout, Euler also with as many steps as are exact;
    the last step read from the denoiser instead; for blocks, ensembles of the first ones
    ([`noprop_ode.EnsembleDecoder`][]); and the default of the model, the only one for a model that takes no steps but
    its own.
    """
    if model.own_steps_only:
        return {"the default": [model.default_prediction]}
    samplers: dict[str, list[Any]] = {
        "Euler": [ODE(diffrax.Euler(), steps=n) for n in (*counts, _MANY)],
        "Heun": [ODE(diffrax.Heun(), steps=n) for n in counts],
    }
    gaussian = isinstance(model, AbstractGaussianModel)
    if gaussian:
        samplers["DDIM"] = [Ancestral(n, churn=0.0) for n in counts]
        samplers["ancestral"] = [Ancestral(n) for n in counts]
    ways = {name: [Prediction("noise", s, ReadoutDecoder()) for s in found] for name, found in samplers.items()}
    if gaussian:  # of flow matching it is the last Euler step and the nearest embedding all the same
        ways["DDIM, denoiser"] = [Prediction("noise", how.sampler, DenoiserDecoder()) for how in ways["DDIM"]]
    if gaussian and isinstance(model.field, Blocks):
        T = model.field.num_blocks
        ways["first blocks, averaged"] = [
            model.default_prediction._replace(decoder=EnsembleDecoder([k / T for k in range(n)]))
            for n in range(1, T + 1)
        ]
    return {**ways, "the default": [model.default_prediction]}


class CostPoint(NamedTuple):
    """A prediction: the mean number of evaluations of the vector field per image, and how good it is."""

    evaluations: float
    accuracy: float
    nll: float
    calibration_error: float


def measure_cost(
    model: AbstractModel, images: data.Dataset, samplers: Mapping[str, Sequence[Prediction]], *, key: Key
) -> dict[str, list[CostPoint]]:
    """Evaluates each prediction, on images that are encoded once; one that fails is reported and left out.

    **Arguments:** as for `plot_cost`. **Returns:** the results, by the names of the samplers.
    """
    points: dict[str, list[CostPoint]] = {name: [] for name in samplers}
    every = [(name, how) for name, ways in samplers.items() for how in ways]
    for name, found, _ in evaluate_each(model, images, every, key=key):
        points[name].append(CostPoint(found.num_evaluations, found.accuracy, found.nll, found.calibration_error))
    return points


def plot_cost(
    path: AnyPath,
    model: AbstractModel,
    images: data.Dataset,
    samplers: Mapping[str, Sequence[Prediction]],
    *,
    key: Key,
    split: str = "validation",
) -> None:
    """Accuracy, negative log-likelihood and calibration against the number of evaluations of the vector field; for
    accuracy, also a close-up near the top, with one standard error of the best.

    A sampler is a setting, and settings are chosen on the validation split.

    **Arguments:**

    - `path`: the image file to write.
    - `model`: the model.
    - `images`: images and labels.
    - `samplers`: by name, predictions of growing cost.
    - `key`: randomness.
    - `split`: which part of the data the images are, for the title.
    """
    points = measure_cost(model, images, samplers, key=key)
    name = _canvas.plain(images.name.removesuffix(f"/{split}"))
    title = f"{name}, {len(images)} {split} images; {_in_words(samplers)}"
    _canvas.save(cost_figure(points, len(images), title), path)


def cost_figure(points: Mapping[str, Sequence[CostPoint]], count: int, title: str) -> Any:
    """The figure of the results of `measure_cost`.

    **Arguments:** the points of each sampler, the number of images, and a title.
    """
    figure = _canvas.new_figure(9.2, 7.6)
    (accuracy, top), (nll, calibration) = figure.subplots(2, 2)
    for axis, column in ((accuracy, 1), (top, 1), (nll, 2), (calibration, 3)):
        for number, (name, found) in enumerate(points.items()):
            values = np.array(found).reshape(-1, 4)[:, [0, column]]
            values = values[np.isfinite(values).all(axis=1)]
            size = {"ms": 5} if len(values) > 1 else {"ms": 11, "zorder": 3}
            axis.plot(
                *values.T, marker=_MARKERS[number % 9] if len(values) > 1 else "*", alpha=0.85, label=name, **size
            )
        axis.set(xscale="log")
        _count_ticks(axis, [found.evaluations for way in points.values() for found in way])
    for axis in (nll, calibration):
        axis.set(xlabel="evaluations of the vector field per image")
    accuracy.set(ylabel="accuracy", title="all")
    _zoom(top, [found.accuracy for way in points.values() for found in way], count)
    nll.set(ylabel="negative log-likelihood, nats", yscale="log")
    calibration.set(ylabel="expected calibration error", yscale="log")
    accuracy.legend(frameon=False, loc="best", fontsize=8)
    _canvas.tidy((accuracy, top, nll, calibration))
    figure.suptitle(title, fontsize=10)
    return figure


def _count_ticks(axis: Any, counts: Sequence[float]) -> None:
    """A tick at each power of two."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    known = [c for c in counts if np.isfinite(c) and c > 0] or [1.0]
    low, high = int(np.floor(np.log2(min(known)))), int(np.ceil(np.log2(max(known))))
    axis.xaxis.set_major_locator(FixedLocator([2.0**k for k in range(low, high + 1, 1 + (high - low) // 10)]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())


def _zoom(axis: Any, accuracies: Sequence[float], count: int) -> None:
    """The best, down to a few of its standard errors: points that cannot be told apart there are equally good."""
    best = max(accuracies, default=1.0)
    error = float(np.sqrt(max(best * (1 - best), 1 / count) / count))
    axis.axhspan(best - error, best, color="0.9", lw=0, label="one standard error below the best")
    axis.set(ylim=(best - 5 * error, best + error), title="near the top")
    axis.legend(*[[found[-1]] for found in axis.get_legend_handles_labels()], frameon=False, loc="lower right")


def _in_words(samplers: Mapping[str, Sequence[Prediction]]) -> str:
    """Start, draws and decoder, if all predictions whose cost can be chosen share them."""
    ways = [how for found in samplers.values() if len(found) > 1 for how in found]
    words = []
    for name in ("start", "draws", "decoder"):
        values = {_word(getattr(how, name)) for how in ways}
        if len(values) == 1:
            words.append(f"{name}: {values.pop()}")
    return ", ".join(words)


def _word(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else type(value).__name__.removesuffix("Decoder").lower()
