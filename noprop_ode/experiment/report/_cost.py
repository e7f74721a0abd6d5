"""Accuracy against evaluations of the vector field."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import diffrax
import numpy as np

from ... import (
    ODE,
    AbstractGaussianModel,
    AbstractModel,
    Ancestral,
    Prediction,
    ReadoutDecoder,
    SolverError,
    data,
    evaluate,
)
from ..._types import AnyPath, Key
from . import _canvas


_MARKERS = "osD^vP"


def ways_by_cost(model: AbstractModel, counts: Sequence[int] = (1, 2, 4, 8, 16, 32)) -> dict[str, list[Prediction]]:
    """Samplers by name, each with growing numbers of steps, from one draw of noise to the readout."""
    samplers: dict[str, list[Any]] = {
        "Euler": [ODE(diffrax.Euler(), steps=n) for n in counts],
        "Heun": [ODE(diffrax.Heun(), steps=n) for n in counts],
    }
    if isinstance(model, AbstractGaussianModel):
        samplers["DDIM"] = [Ancestral(n, churn=0.0) for n in counts]
        samplers["ancestral"] = [Ancestral(n) for n in counts]
    return {name: [Prediction("noise", s, ReadoutDecoder()) for s in found] for name, found in samplers.items()}


def plot_cost(
    path: AnyPath,
    model: AbstractModel,
    images: data.Dataset,
    samplers: Mapping[str, Sequence[Prediction]],
    *,
    key: Key,
    split: str = "validation",
) -> None:
    """Accuracy against the number of evaluations of the vector field; beside it, what is near the top, with one
    standard error of the best.

    A sampler is a setting, and settings are chosen on the validation split.

    **Arguments:**

    - `path`: the image file to write.
    - `model`: the model.
    - `images`: images and labels.
    - `samplers`: by name, predictions of growing cost.
    - `key`: randomness.
    - `split`: what part of the data the images are, for the title.
    """
    from tqdm import tqdm

    points: dict[str, list[tuple[float, float]]] = {}
    bar = tqdm(total=sum(map(len, samplers.values())), unit="sampler", disable=None, file=sys.stderr, leave=False)
    with bar:
        for name, ways in samplers.items():
            points[name] = []
            for how in ways:
                bar.set_description(f"cost, {name}")
                try:
                    found = evaluate(model, images.images, images.labels, key=key, prediction=how)
                    points[name].append((found.num_evaluations, found.accuracy))
                except SolverError as error:  # one that fails must not cost the others
                    bar.write(f"warning: {name}: {error}", file=sys.stderr)
                bar.update()
    figure = _canvas.new_figure(9.2, 4.1)
    left, right = figure.subplots(1, 2)
    for axis in (left, right):
        for number, (name, found) in enumerate(points.items()):
            found = [p for p in found if np.isfinite(p).all()]
            axis.plot(*np.array(found).reshape(-1, 2).T, marker=_MARKERS[number % 6], ms=5, alpha=0.85, label=name)
        axis.set(xlabel="evaluations of the vector field an image", xscale="log")
        _count_ticks(axis, [n for found in points.values() for n, _ in found])
    left.set(ylabel="accuracy", title="all")
    _zoom(right, [a for found in points.values() for _, a in found], len(images))
    left.legend(frameon=False, loc="lower right")
    _canvas.tidy((left, right))
    figure.suptitle(
        f"{_canvas.plain(images.name.removesuffix(f'/{split}'))}, {len(images)} {split} images; {_in_words(samplers)}",
        fontsize=10,
    )
    _canvas.save(figure, path)


def _count_ticks(axis: Any, counts: Sequence[float]) -> None:
    """A tick at each power of two."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    known = [c for c in counts if np.isfinite(c) and c > 0] or [1.0]
    low, high = int(np.floor(np.log2(min(known)))), int(np.ceil(np.log2(max(known))))
    axis.xaxis.set_major_locator(FixedLocator([2.0**k for k in range(low, high + 1, 1 + (high - low) // 10)]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())


def _zoom(axis: Any, accuracies: Sequence[float], count: int) -> None:
    """The best, down to a few of its standard errors: what is not told apart there is not better."""
    best = max(accuracies, default=1.0)
    error = float(np.sqrt(max(best * (1 - best), 1 / count) / count))
    axis.axhspan(best - error, best, color="0.9", lw=0, label="one standard error below the best")
    axis.set(ylim=(best - 5 * error, best + error), title="near the top")
    axis.legend(*[[found[-1]] for found in axis.get_legend_handles_labels()], frameon=False, loc="lower right")


def _in_words(samplers: Mapping[str, Sequence[Prediction]]) -> str:
    """Start and decoder, where all ways share them."""
    ways = [how for found in samplers.values() for how in found]
    words = []
    for name in ("start", "draws", "decoder"):
        values = {_word(getattr(how, name)) for how in ways}
        if len(values) == 1:
            words.append(f"{name}: {values.pop()}")
    return ", ".join(words)


def _word(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else type(value).__name__.removesuffix("Decoder").lower()
