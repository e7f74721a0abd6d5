from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
from jaxtyping import Array, Float, UInt8

from .. import ODE, AbstractModel
from .._types import Key


matplotlib.use("Agg")
from matplotlib import pyplot as plt


def plot_learning_curve(path: Path, records: list[dict[str, Any]]) -> None:
    """Loss terms and validation accuracy against training steps.

    **Arguments:**

    - `path`: the image file to write.
    - `records`: lines of metrics.jsonl, of kinds `train` and `validation`.
    """
    train = [r for r in records if r["kind"] == "train"]
    validation = [r for r in records if r["kind"] == "validation"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    steps = np.array([r["step"] for r in train])
    width = max(1, len(steps) // 40)
    for color, name in zip(("C0", "C1", "C2"), ("denoising", "readout", "prior")):
        values = np.array([r[name] for r in train])
        if (values > 1e-6).any():  # a term that is zero throughout would only stretch the axis
            values = np.maximum(values, 1e-6)
            left.plot(steps, values, alpha=0.25, color=color)
            smooth = np.convolve(values, np.ones(width) / width, mode="valid")
            left.plot(steps[width - 1 :], smooth, label=name, color=color)
    left.set(xlabel="step", ylabel="loss (nats)", yscale="log", title="training loss")
    left.legend(frameon=False)
    right.plot([r["step"] for r in validation], [r["accuracy"] for r in validation], marker="o")
    right.set(xlabel="step", ylabel="accuracy", title="validation")
    _finish(figure, (left, right), path)


def trajectory_probabilities(
    model: AbstractModel, xs: UInt8[np.ndarray, "n h w c"], sampler: ODE, ts: Float[Array, " times"], *, key: Key
) -> Float[Array, "n times classes"]:
    """Class probabilities of the network along one trajectory of each image, from a draw of noise.

    **Arguments:**

    - `model`: the model.
    - `xs`: images.
    - `sampler`: the ODE solver that runs the trajectories.
    - `ts`: the times at which to look.
    - `key`: the draws of noise.

    **Returns:** probabilities, shape `[n, times, classes]`.
    """

    @eqx.filter_jit
    def run(model: AbstractModel, xs: Array, keys: Any) -> Array:
        def one(x: Array, key: Any) -> Array:
            features = model.field.encode(x)
            z0 = jr.normal(key, (model.embedding.dim,), jnp.float32)
            zs = sampler.trajectory(model, z0, features, ts, key=key)
            return jnp.exp(jax.vmap(lambda t, z: model.log_posterior(t, z, features))(ts, zs))

        return jax.vmap(one)(xs, keys)

    return run(model, jnp.asarray(xs), jr.split(key, len(xs)))


def plot_probabilities(
    path: Path,
    images: UInt8[np.ndarray, "n h w c"],
    labels: list[int],
    class_names: tuple[str, ...],
    ts: Float[np.ndarray, " times"],
    probabilities: Float[np.ndarray, "n times classes"],
) -> None:
    """A few images with the class probabilities along their trajectories.

    **Arguments:**

    - `path`: the image file to write.
    - `images`, `labels`: the images and their true classes.
    - `class_names`: names of the classes.
    - `ts`: times.
    - `probabilities`: from `trajectory_probabilities`.
    """
    n = len(images)
    figure, axes = plt.subplots(
        2, n, figsize=(1.9 * n, 4.2), layout="constrained", height_ratios=(1, 1.3), squeeze=False
    )
    shown = set(np.argsort(probabilities.max(axis=(0, 1)))[::-1][:10].tolist())
    for i in range(n):
        top, bottom = axes[0, i], axes[1, i]
        top.imshow(images[i].squeeze(), cmap="gray_r" if images.shape[-1] == 1 else None)
        top.set_title(class_names[labels[i]], fontsize=10)
        top.axis("off")
        for c, name in enumerate(class_names):
            bottom.plot(
                ts, probabilities[i, :, c], color=f"C{c % 10}", lw=1.6, label=name if i == 0 and c in shown else None
            )
        bottom.set(xlabel="time t", ylim=(-0.03, 1.03), xlim=(0, 1))
        if i:
            bottom.set_yticklabels([])
    axes[1, 0].set_ylabel("class probability")
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    _finish(figure, axes[1], path)


def _finish(figure: Any, axes: Any, path: Path) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.savefig(path, dpi=140)
    plt.close(figure)
