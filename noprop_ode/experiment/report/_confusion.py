"""The confusion matrix."""

from typing import Any

import numpy as np
from jaxtyping import Int

from ... import AbstractModel, Prediction, data, predict
from ..._types import AnyPath, Key
from . import _canvas


_WITH_COUNTS = 20  # up to this many classes, every count is written
_WITH_NAMES = 120  # up to this many classes, every class is named


def confusion_matrix(
    predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], num_classes: int
) -> Int[np.ndarray, "classes classes"]:
    """How many images of each true class (rows) were predicted as each class (columns).

    **Arguments:** predicted and true classes, and the number of classes. **Returns:** counts.
    """
    flat = np.bincount(num_classes * labels.astype(int) + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def plot_confusion(
    path: AnyPath, model: AbstractModel, test: data.Dataset, *, key: Key, prediction: Prediction | None = None
) -> None:
    """The confusion matrix, and next to it the most frequent mistakes.

    **Arguments:**

    - `path`: the image file to write.
    - `model`: the model.
    - `test`: images and labels.
    - `key`: randomness.
    - `prediction`: how to predict; the model's default if not given.
    """
    predicted = np.asarray(predict(model, test.images, key=key, prediction=prediction))
    matrix = confusion_matrix(predicted, test.labels, test.num_classes)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = float(np.clip(2.5 + 0.35 * test.num_classes, 4.5, 12.0))
    figure = _canvas.new_figure(size + 4.4, size)
    axis, side = figure.subplots(1, 2, width_ratios=(size, 3.0))
    from matplotlib.colors import PowerNorm

    # Mistakes are a few percent each: the square root makes them visible.
    image = axis.imshow(share, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="nearest")
    bar = figure.colorbar(image, ax=axis, label="share of the true class", shrink=0.7, ticks=[0, 0.05, 0.2, 0.5, 1])
    bar.ax.set_yticklabels(["0", "5%", "20%", "50%", "100%"])
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)
    axis.set(xlabel="predicted", ylabel="true")
    axis.set_title(f"{_canvas.plain(test.name)}: {len(test)} images, accuracy {accuracy:.4f}", fontsize=10)
    _name_classes(axis, test.class_names)
    if test.num_classes <= _WITH_COUNTS:
        for i, j in np.argwhere(matrix > 0):
            color = "white" if share[i, j] > 0.35 else "black"
            axis.text(j, i, str(matrix[i, j]), ha="center", va="center", fontsize=7, color=color)
    _draw_mistakes(side, matrix, test.class_names, most=int(np.clip(3 * size, 10, 30)))
    _canvas.save(figure, path)


def _name_classes(axis: Any, class_names: tuple[str, ...]) -> None:
    n = len(class_names)
    if n <= _WITH_COUNTS:
        names, size = [_canvas.plain(name, 16) for name in class_names], 9.0
        axis.set_xticks(range(n), names, rotation=45, ha="right", fontsize=size)
    elif n <= _WITH_NAMES:
        names, size = [_canvas.plain(name, 14) for name in class_names], max(4.5, 560 / n)
        size = min(size, 9.0)
        axis.set_xticks(range(n), names, rotation=90, fontsize=size)
    else:  # by number
        return
    axis.set_yticks(range(n), names, fontsize=size)
    axis.tick_params(length=2, pad=2)


def _draw_mistakes(axis: Any, matrix: Int[np.ndarray, "classes classes"], names: tuple[str, ...], most: int) -> None:
    mistakes = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    pairs = [(i, j) for i, j in zip(*np.unravel_index(order, matrix.shape)) if mistakes[i, j] > 0]
    counts = [int(mistakes[i, j]) for i, j in pairs]
    axis.barh(range(len(pairs)), counts, color="C1", height=0.7)
    labels = [f"{_canvas.plain(names[i], 14)} → {_canvas.plain(names[j], 14)}" for i, j in pairs]
    axis.set_yticks(range(len(pairs)), labels, fontsize=7)
    axis.set_ylim(max(len(pairs), 10) - 0.4, -0.6)
    axis.set_xlim(0, max(counts, default=1) * 1.05)
    axis.locator_params(axis="x", integer=True, nbins=5)
    axis.set_xlabel("images")
    axis.set_title("true → predicted, most frequent", fontsize=10)
    _canvas.tidy((axis,))
