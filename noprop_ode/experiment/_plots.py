from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Float, Int, UInt8

from .. import ODE, AbstractModel, AbstractNoiseSchedule, data, evaluate, predict, trajectories
from .._types import Key


matplotlib.use("Agg")
from matplotlib import pyplot as plt


def plot_learning_curves(path: Path, runs: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    """Loss and validation accuracy against training steps: the terms of the loss of one run, or the totals of several.

    **Arguments:**

    - `path`: the image file to write; its suffix chooses PNG or SVG.
    - `runs`: records of metrics.jsonl, by the name of the run.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    terms = ("denoising", "readout", "prior") if len(runs) == 1 else ("loss",)
    color = 0
    for name, records in runs.items():
        train = [r for r in records if r.get("kind") == "train"]
        steps = np.array([r["step"] for r in train])
        for term in terms:
            values = np.array([r[term] for r in train], dtype=float)
            if not (values > 1e-6).any():  # a term that is zero throughout would only stretch the axis
                continue
            _smoothed(left, steps, np.maximum(values, 1e-6), f"C{color}", term if len(runs) == 1 else name)
            color += 1
        validation = [r for r in records if r.get("kind") == "validation"]
        shade = f"C{color - 1}" if len(runs) > 1 else "C0"
        right.plot(
            [r["step"] for r in validation], [r["accuracy"] for r in validation], marker="o", color=shade, label=name
        )
    left.set(xlabel="step", ylabel="loss (nats)", yscale="log", title="training loss")
    left.legend(frameon=False)
    right.set(xlabel="step", ylabel="accuracy", title="validation")
    if len(runs) > 1:
        right.legend(frameon=False)
    _finish(figure, (left, right), path)


def _smoothed(axis: Any, steps: np.ndarray, values: np.ndarray, color: str, label: str) -> None:
    width = max(1, len(steps) // 40)
    axis.plot(steps, values, alpha=0.2, color=color, lw=0.8)
    smooth = np.convolve(values, np.ones(width) / width, mode="valid")
    axis.plot(steps[width - 1 :], smooth, label=label, color=color)


def plot_trajectories(
    path: Path, model: AbstractModel, test: data.Dataset, *, key: Key, indices: Sequence[int] = range(6)
) -> None:
    """A few images with the class probabilities of the network along one trajectory each, from a draw of noise.

    **Arguments:**

    - `path`: the image file to write.
    - `model`: the model.
    - `test`: images and labels.
    - `key`: the draws of noise.
    - `indices`: which images.
    """
    chosen = np.asarray([i for i in indices if i < len(test)])
    ts = np.linspace(0.0, 1.0, 101)
    sampler = ODE(diffrax.Heun(), steps=20)
    found = trajectories(model, test.images[chosen], ts, key=key, sampler=sampler, start="noise")
    probabilities = np.exp(jax.device_get(found.log_posteriors))
    plot_probabilities(
        path, test.images[chosen], test.labels[chosen].tolist(), test.class_names, np.asarray(found.ts), probabilities
    )


def plot_probabilities(
    path: Path,
    images: UInt8[np.ndarray, "n h w c"],
    labels: list[int],
    class_names: tuple[str, ...],
    ts: Float[np.ndarray, " times"],
    probabilities: Float[np.ndarray, "n times classes"],
) -> None:
    """A few images with class probabilities against time.

    **Arguments:**

    - `path`: the image file to write.
    - `images`, `labels`: the images and their true classes.
    - `class_names`: names of the classes.
    - `ts`: times.
    - `probabilities`: of each class, for each image and time.
    """
    n = len(images)
    figure, axes = plt.subplots(
        2, n, figsize=(1.9 * n, 4.2), layout="constrained", height_ratios=(1, 1.3), squeeze=False
    )
    shown = set(np.argsort(probabilities.max(axis=(0, 1)))[::-1][:10].tolist())
    for i in range(n):
        top, bottom = axes[0, i], axes[1, i]
        _show(top, images[i], class_names[labels[i]])
        for c, name in enumerate(class_names):
            label = name if i == 0 and c in shown else None
            bottom.plot(ts, probabilities[i, :, c], color=f"C{c % 10}", lw=1.6, label=label)
        bottom.set(xlabel="time t", ylim=(-0.03, 1.03), xlim=(0, 1))
        if i:
            bottom.set_yticklabels([])
    axes[1, 0].set_ylabel("class probability")
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    _finish(figure, axes[1], path)


def plot_confusion(path: Path, model: AbstractModel, test: data.Dataset, *, key: Key) -> None:
    """The confusion matrix under the default prediction of the model.

    **Arguments:** the image file to write, the model, images with labels, and randomness.
    """
    matrix = confusion_matrix(np.asarray(predict(model, test.images, key=key)), test.labels, test.num_classes)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    size = min(12.0, 2.5 + 0.35 * test.num_classes)
    figure, axis = plt.subplots(figsize=(size + 1, size), layout="constrained")
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axis, label="share of the true class", shrink=0.8)
    axis.set(xlabel="predicted", ylabel="true")
    if test.num_classes <= 20:
        axis.set_xticks(range(test.num_classes), test.class_names, rotation=45, ha="right")
        axis.set_yticks(range(test.num_classes), test.class_names)
        for i, j in np.argwhere(matrix > 0):
            color = "white" if share[i, j] > 0.5 else "black"
            axis.text(j, i, str(matrix[i, j]), ha="center", va="center", fontsize=7, color=color)
    figure.savefig(path, dpi=140)
    plt.close(figure)


def confusion_matrix(
    predicted: Int[np.ndarray, " n"], labels: Int[np.ndarray, " n"], num_classes: int
) -> Int[np.ndarray, "classes classes"]:
    """How many images of each true class (rows) were given each class (columns).

    **Arguments:** predicted and true classes, and the number of classes. **Returns:** counts.
    """
    flat = np.bincount(num_classes * labels.astype(int) + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def plot_cost(
    path: Path,
    model: AbstractModel,
    test: data.Dataset,
    samplers: Mapping[str, Sequence[dict[str, Any]]],
    *,
    key: Key,
) -> None:
    """Accuracy against the number of evaluations of the vector field.

    **Arguments:**

    - `path`: the image file to write.
    - `model`: the model.
    - `test`: images and labels.
    - `samplers`: by name, named arguments of [`noprop_ode.evaluate`][] of growing cost.
    - `key`: randomness.
    """
    figure, axis = plt.subplots(figsize=(6, 3.8), layout="constrained")
    for name, ways in samplers.items():
        found = [evaluate(model, test.images, test.labels, key=key, **how) for how in ways]
        axis.plot([f.num_evaluations for f in found], [f.accuracy for f in found], marker="o", label=name)
    axis.set(xlabel="evaluations of the vector field an image", ylabel="accuracy", xscale="log")
    axis.legend(frameon=False)
    _finish(figure, (axis,), path)


def plot_schedule(path: Path, schedule: AbstractNoiseSchedule) -> None:
    """The log-SNR of a schedule, and its signal and noise amplitudes, against time.

    **Arguments:** the image file to write, and the schedule.
    """
    ts = jnp.linspace(0, 1, 201, dtype=jnp.float32)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    left.plot(ts, jax.vmap(schedule.log_snr)(ts))
    left.set(xlabel="time t", ylabel="log-SNR (nats)")
    alphas, sigmas = jax.vmap(schedule.alpha_sigma)(ts)
    right.plot(ts, alphas, label="signal α")
    right.plot(ts, sigmas, label="noise σ")
    right.set(xlabel="time t", ylabel="amplitude")
    right.legend(frameon=False)
    _finish(figure, (left, right), path)


def plot_prototypes(path: Path, images: Float[np.ndarray, "classes h w c"], class_names: tuple[str, ...]) -> None:
    """Embeddings that are images, one a class.

    **Arguments:** the image file to write, the embeddings, and the names of the classes.
    """
    columns = min(10, len(images))
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.2 * columns, 1.4 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, name in zip(axes.flat, images, class_names):
        _show(axis, np.clip(image, 0, 1), name)
    figure.savefig(path, dpi=140)
    plt.close(figure)


def _show(axis: Any, image: np.ndarray, title: str) -> None:
    axis.imshow(image.squeeze(), cmap="gray_r" if image.shape[-1] == 1 else None)
    axis.set_title(title, fontsize=10)
    axis.axis("off")


def _finish(figure: Any, axes: Any, path: Path) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.savefig(path, dpi=140)
    plt.close(figure)
