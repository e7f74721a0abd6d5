"""Learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ..._types import AnyPath
from . import _canvas
from ._groups import group_runs, name_of_run, name_of_runs


Series = tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]  # steps, and the values there
_TERMS = ("denoising", "readout", "prior")


def plot_learning_curves(
    path: AnyPath,
    runs: Mapping[str, Sequence[dict[str, Any]]],
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Training loss, validation accuracy, validation negative log-likelihood and, if it was recorded, learning rate
    against epochs: the terms of the loss of one run, or the totals of several.

    Runs are labelled by what differs in their settings. Those that differ only in their seed are one curve, the mean,
    in a band of one standard deviation.

    **Arguments:**

    - `path`: the image file to write; its suffix chooses PNG or SVG.
    - `runs`: records of metrics.jsonl, by the name of the run.
    - `settings`: the settings of the runs as plain values, by the same names.
    """
    settings = settings or {}
    groups = group_runs({name: settings.get(name, {}) for name in runs})
    records = {label: [runs[name] for name in names] for label, names in groups.items()}
    per_epoch = {label: _steps_per_epoch(found) for label, found in records.items()}
    in_epochs = all(per_epoch.values())
    unit = {label: (size or 1.0) if in_epochs else 1.0 for label, size in per_epoch.items()}
    panels = ["loss", "accuracy", "nll"]
    if any(len(_series(r, "train", "learning_rate")[0]) for found in records.values() for r in found):
        panels.append("rate")
    figure = _canvas.new_figure(3.9 * len(panels), 3.7)
    axes = dict(zip(panels, figure.subplots(1, len(panels), squeeze=False)[0]))
    for number, (label, found) in enumerate(records.items()):
        color = f"C{number % 10}"
        scale = unit[label]
        if len(runs) == 1:
            _draw_terms(axes["loss"], found[0], scale)
        else:
            _draw_group(axes["loss"], found, "train", "loss", scale, color, label)
        for panel, key in (("accuracy", "accuracy"), ("nll", "nll")):
            _draw_group(axes[panel], found, "validation", key, scale, color, label, marker=True)
        if "rate" in axes:
            _draw_group(axes["rate"], found, "train", "learning_rate", scale, color, label, smooth=False)
    axes["loss"].set(title="training loss", ylabel="loss")  # some are in nats, and others have no unit
    axes["accuracy"].set(title="validation accuracy", ylabel="accuracy")
    axes["nll"].set(title="validation negative log-likelihood", ylabel="NLL (nats)")
    if "rate" in axes:
        axes["rate"].set(title="learning rate", ylabel="learning rate")
    for panel, axis in axes.items():
        axis.set_xlabel("epoch" if in_epochs else "step")
        axis.locator_params(axis="x", integer=True, nbins=6)
        if panel in ("loss", "nll") and axis.lines and min(_lowest(line) for line in axis.lines) > 0:
            axis.set_yscale("log")
            _canvas.plain_ticks(axis.yaxis)
    _canvas.tidy(axes.values())
    _legend(figure, axes, len(runs))
    names = list(runs)
    known = [settings.get(name, {}) for name in names]
    title = name_of_run(known[0], names[0]) if len(names) == 1 else name_of_runs(known)
    figure.suptitle(_canvas.plain(title, 120), fontsize=11)
    _canvas.save(figure, path)


def _legend(figure: Any, axes: dict[str, Any], num_runs: int) -> None:
    handles, labels = axes["loss"].get_legend_handles_labels()
    if not labels:
        return
    if num_runs == 1:
        axes["loss"].legend(frameon=False, fontsize=8)
        return
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False, fontsize=8)


def _lowest(line: Any) -> float:
    values = np.asarray(line.get_ydata(), float)
    values = values[np.isfinite(values)]
    return float(values.min()) if values.size else 1.0


def _draw_terms(axis: Any, records: Sequence[dict[str, Any]], scale: float) -> None:
    for number, term in enumerate(_TERMS):
        steps, values = _series(records, "train", term)
        if not len(values) or not np.abs(values).max() > 0:
            continue
        spread = values.max() - values.min()
        if spread <= 1e-6 * np.abs(values).max() and len(values) > 1:
            # A constant would only stretch the axis: the legend states it.
            axis.plot([], [], " ", label=f"{term} {values[0]:.3g}, constant")
            continue
        axis.plot(steps / scale, values, alpha=0.2, color=f"C{number}", lw=0.8)
        axis.plot(*_smoothed(steps / scale, values), color=f"C{number}", label=term)


def _draw_group(
    axis: Any,
    runs: Sequence[Sequence[dict[str, Any]]],
    kind: str,
    key: str,
    scale: float,
    color: str,
    label: str,
    *,
    marker: bool = False,
    smooth: bool = True,
) -> None:
    found = [_series(records, kind, key) for records in runs]
    found = [series for series in found if len(series[0])]
    if not found:
        return
    if smooth and not marker:
        if len(found) == 1:
            axis.plot(found[0][0] / scale, found[0][1], alpha=0.15, color=color, lw=0.8)
        found = [_smoothed(*series) for series in found]
    steps = found[0][0]
    for other, _ in found[1:]:
        steps = np.intersect1d(steps, other)
    if not len(steps):  # runs that were never measured at the same step are drawn separately
        for each in found:
            axis.plot(each[0] / scale, each[1], color=color, lw=1.2)
        return
    values = np.stack([v[np.isin(s, steps)] for s, v in found])
    mean = values.mean(axis=0)
    few = marker and len(steps) <= 60
    axis.plot(
        steps / scale, mean, color=color, label=_canvas.plain(label, 60), marker="o" if few else None, ms=3, lw=1.4
    )
    if len(found) > 1:
        deviation = values.std(axis=0, ddof=1)
        axis.fill_between(steps / scale, mean - deviation, mean + deviation, color=color, alpha=0.2, lw=0)


def _series(records: Sequence[dict[str, Any]], kind: str, key: str) -> Series:
    """The values by step; for a step that was repeated after a rollback, the last."""
    found = {}
    for record in records:
        step: Any = record.get("step")
        value: Any = record.get(key)
        if record.get("kind") == kind and _is_number(step) and _is_number(value) and np.isfinite(value):
            found[float(step)] = float(value)
    steps = np.array(sorted(found), float)
    return steps, np.array([found[s] for s in steps.tolist()], float)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _smoothed(steps: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> tuple[Any, Any]:
    """A moving average, at the step where each window ends: slightly shorter than the input."""
    width = max(1, len(steps) // 40)
    return steps[width - 1 :], np.convolve(values, np.ones(width) / width, mode="valid")


def _steps_per_epoch(runs: Sequence[Sequence[dict[str, Any]]]) -> float | None:
    """From the validations, which come at the end of an epoch; `None` if there were none."""
    for records in runs:
        steps, epochs = _series(records, "validation", "epoch")
        if len(steps) and epochs[-1] > 0 and steps[-1] > 0:
            return float(steps[-1] / epochs[-1])
    return None
