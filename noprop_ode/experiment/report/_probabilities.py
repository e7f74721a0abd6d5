"""Class probabilities along a trajectory."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import diffrax
import jax
import numpy as np
from jaxtyping import Float, Int

from ... import ODE, AbstractModel, Prediction, RunError, data, predict_log_proba, trajectories
from ..._types import AnyPath, Key
from . import _canvas
from ._text import printable


class Chosen(NamedTuple):
    """An image to show, and why."""

    position: int
    why: str


def plot_trajectories(
    path: AnyPath,
    model: AbstractModel,
    test: data.Dataset,
    *,
    key: Key,
    indices: Sequence[int] | None = None,
    prediction: Prediction | None = None,
) -> None:
    """A few images with the network's class probabilities along one trajectory each, from a draw of noise; above them,
    the true class and the prediction.

    **Arguments:**

    - `path`: the image file to write.
    - `model`: the model.
    - `test`: images and labels.
    - `key`: the draws of noise.
    - `indices`: which images; by default two where the model is sure, two where it is torn between classes, and two
        that it gets wrong, all among the first thousand.
    - `prediction`: how to predict, for the text above the images; the model's default if not given.

    **Raises:** [`noprop_ode.RunError`][] for an image that does not exist.
    """
    if not indices:
        few = test.take(np.arange(min(len(test), 1000)))
        log_ps = np.asarray(predict_log_proba(model, few.images, key=key, prediction=prediction), np.float64)
        chosen = choose(np.exp(log_ps), few.labels)
        ps = np.exp(log_ps[[c.position for c in chosen]])
    else:
        check_indices(indices, test)
        chosen = [Chosen(i, f"image {i}") for i in indices]
        images = test.images[[c.position for c in chosen]]
        ps = np.exp(np.asarray(predict_log_proba(model, images, key=key, prediction=prediction), np.float64))
    which = np.array([c.position for c in chosen])
    ts = np.linspace(0.0, 1.0, 101)
    sampler = model.default_prediction.sampler if model.own_steps_only else ODE(diffrax.Heun(), steps=20)
    found = trajectories(model, test.images[which], ts, key=key, sampler=sampler, start="noise")
    along = np.exp(np.asarray(jax.device_get(found.log_posteriors)))
    _draw(path, test, chosen, ps, np.asarray(found.ts), along)


def check_indices(indices: Sequence[int], images: data.Dataset) -> None:
    """Refuses images that do not exist.

    **Raises:** [`noprop_ode.RunError`][].
    """
    if beyond := [i for i in indices if not 0 <= i < len(images)]:
        raise RunError(
            f"There is no image {beyond[0]} in {printable(images.name)}; its {len(images)} images are numbered from 0 "
            f"to {len(images) - 1}. Choose among these, or name none."
        )


def choose(ps: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"]) -> list[Chosen]:
    """Images worth a look: two that the model is surest of and right about, two whose second class is likeliest, and
    two that it is surest of and wrong about.

    **Arguments:** predicted probabilities, and true classes. **Returns:** at most six, each once; the two sure ones are
    of different classes if possible.
    """
    two = np.sort(ps, axis=1)[:, -2:] if ps.shape[1] > 1 else np.pad(ps, ((0, 0), (1, 0)))
    right, second, top = ps.argmax(axis=1) == labels, two[:, 0], two[:, 1]
    # Those it gets wrong are chosen first, because they may be few.
    wrong = [i for i in np.argsort(-top, kind="stable").tolist() if not right[i]][:2]
    sure = [i for i in np.argsort(-top, kind="stable").tolist() if right[i]]
    other = next((i for i in sure[1:] if labels[i] != labels[sure[0]]), sure[1] if len(sure) > 1 else None)
    sure = [*sure[:1], *([other] if other is not None else [])]
    torn = [i for i in np.argsort(-second, kind="stable").tolist() if i not in (*wrong, *sure)][:2]
    kinds = (("sure", sure), ("torn", torn), ("wrong", wrong))
    return [Chosen(i, why) for why, found in kinds for i in found]


_OTHERS = ("C4", "C2", "C5", "C6")  # of classes that are neither true nor predicted


def _draw(
    path: AnyPath,
    test: data.Dataset,
    chosen: Sequence[Chosen],
    ps: Float[np.ndarray, "n classes"],
    ts: Float[np.ndarray, " times"],
    along: Float[np.ndarray, "n times classes"],
) -> None:
    n = max(1, len(chosen))
    figure = _canvas.new_figure(2.1 * n + 0.4, 5.2)
    top, bottom = figure.subplots(2, n, squeeze=False, height_ratios=(1, 1.2))
    for i, (position, why) in enumerate(chosen):
        label, predicted = int(test.labels[position]), int(ps[i].argmax())
        title = (
            f"{why}\ntrue: {_canvas.plain(test.class_names[label], 18)}\n"
            f"predicted: {_canvas.plain(test.class_names[predicted], 14)} {100 * ps[i].max():.0f}%"
        )
        _canvas.show_image(top[i], test.images[position], title)
        if predicted != label:
            top[i].title.set_color("C1")
        _draw_panel(bottom[i], ts, along[i], test.class_names, label, predicted)
        if i:
            bottom[i].set_yticklabels([])
    bottom[0].set_ylabel("class probability")
    _canvas.tidy(bottom)
    figure.suptitle(
        f"{_canvas.plain(test.name)}: the network's probabilities along one trajectory from noise (Heun, 20 steps)",
        fontsize=10,
    )
    _canvas.save(figure, path)


def _draw_panel(
    axis: Any,
    ts: Float[np.ndarray, " times"],
    along: Float[np.ndarray, "times classes"],
    class_names: Sequence[str],
    label: int,
    predicted: int,
) -> None:
    """Blue for the true class, orange for a wrong prediction, other colours for classes that were likely at some time,
    and grey for the rest: the colours do not run out, however many classes there are."""
    peaks = along.max(axis=0)
    named = {label: ("C0", f"{_canvas.plain(class_names[label], 16)} (true)")}
    if predicted != label:
        named[predicted] = ("C1", f"{_canvas.plain(class_names[predicted], 16)} (pred.)")
    likely = [c for c in np.argsort(-peaks, kind="stable").tolist() if peaks[c] > 0.1 and c not in named]
    for c, color in zip(likely, _OTHERS):
        named[c] = (color, _canvas.plain(class_names[c], 20))
    for c in np.flatnonzero(peaks > 0.005).tolist():
        if c not in named:
            axis.plot(ts, along[:, c], color="0.75", lw=0.8)
    for c, (color, name) in reversed(named.items()):
        axis.plot(ts, along[:, c], color=color, lw=2.2 if c == label else 1.5, label=name)
    axis.set(xlabel="time t", ylim=(-0.03, 1.03), xlim=(0, 1), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1"))
    handles, names = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], names[::-1], frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.22))
