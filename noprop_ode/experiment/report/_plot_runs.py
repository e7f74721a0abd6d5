"""The plots of runs, from their folders."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ... import AbstractGaussianModel, OneBlock, PrototypeEmbedding, data, read_records
from ..._training.files import make_folder
from ..._training.folder import METRICS
from ..._types import AnyPath
from .._build import build_prediction
from .._data import load_data
from .._errors import ConfigError, RunError
from .._evaluate import evaluation_key
from .._recipes import read_yaml
from .._saved import CONFIG_FILE
from ._confusion import plot_confusion
from ._cost import plot_cost, ways_by_cost
from ._learning import plot_learning_curves
from ._open import OpenedRun, check_data, open_run, split_of
from ._probabilities import check_indices, plot_trajectories
from ._prototypes import plot_prototypes
from ._schedule import plot_schedule
from ._text import printable


KINDS = ("learning", "schedule", "prototypes", "trajectories", "confusion", "cost")


def plot_runs(
    runs: Sequence[AnyPath],
    out: AnyPath,
    *,
    kinds: Sequence[str] = KINDS,
    indices: Sequence[int] | None = None,
    suffix: str = "png",
    split: Literal["validation", "test"] | None = None,
    data_dir: AnyPath | None = None,
    best: bool = False,
    trust_imports: bool = False,
) -> Iterator[Path]:
    """Draws the plots of runs: learning curves of all of them, everything else of the first. Reports on standard error
    which one is being drawn.

    **Arguments:**

    - `runs`: output folders; that of several seeds stands for all of them.
    - `out`: folder for the plots.
    - `kinds`: among `learning`, `cost`, `schedule`, `trajectories`, `prototypes` and `confusion`; those that do not
        apply to the model are left out.
    - `indices`: images whose trajectories to show; by default some where the model is sure, torn and wrong.
    - `suffix`: `"png"` or `"svg"`.
    - `split`: the data to plot; by default the validation split for the cost, which serves to make a choice, and the
        test set for the rest.
    - `data_dir`: folder of prepared data sets.
    - `best`: the model with the best validation accuracy.
    - `trust_imports`: whether to import the modules that the run names, which runs their code.

    **Yields:** the path of each plot, once it is there.

    **Raises:** `RunError` for no run, an unknown kind, a folder that cannot be made or has no run, an image that does
    not exist, or data of another shape or other classes than the model was trained on.
    """
    runs, out = [seed for run in runs for seed in _seeds_of(Path(run))], Path(out)
    strange = sorted(set(kinds) - set(KINDS))
    if not runs or strange:
        what = ", ".join(strange) or "no run"
        raise RunError(f"Expected one or more runs, and kinds of plots among {', '.join(KINDS)}; got {what}.")
    asked = tuple(kinds) != KINDS
    # A run that blocks were joined to has none, and is skipped unless its learning curve was requested.
    learned = "learning" in kinds and (asked or any((run / METRICS).exists() for run in runs))
    draw = {"learning": lambda path: _learning(path, runs)} if learned else {}
    if [k for k in kinds if k != "learning"]:
        opened = open_run(runs[0], best=best, trust_imports=trust_imports, data_dir=data_dir)
        draw |= _of_model(opened, kinds, indices, split)
    make_folder(out)
    names = {"learning": "learning_curve", "trajectories": "probabilities"}
    for kind in (k for k in KINDS if k in draw):
        of = "_best" if best and kind != "learning" else ""  # next to the plots of the model that was evaluated
        path = out / f"{names.get(kind, kind)}{of}.{suffix}"
        print(f"drawing {printable(path.name)} ...", file=sys.stderr, flush=True)
        draw[kind](path)
        yield path


def _seeds_of(run: Path) -> list[Path]:
    """The runs in a folder that `run_seeds` wrote; the folder itself if it is a run's."""
    if (run / METRICS).exists():
        return [run]
    found = [path.parent for path in run.glob(f"seed*/{METRICS}")]
    return sorted(found, key=lambda path: (len(path.name), path.name)) or [run]


def _learning(path: Path, runs: Sequence[Path]) -> None:
    alike = len({run.name for run in runs}) < len(runs)
    names = {str(run) if alike else run.name or str(run): run for run in runs}
    records = {name: read_records(run / METRICS) for name, run in names.items()}
    if missing := [name for name, found in records.items() if not found]:
        raise RunError(f"There are no metrics of a run in {printable(missing[0])}.")
    plot_learning_curves(path, records, settings={name: _settings(run) for name, run in names.items()})


def _settings(run: Path) -> dict[Any, Any]:
    """The settings of a run as plain data; none if they cannot be read, as the curves only need them for names."""
    try:
        return read_yaml(run / CONFIG_FILE)
    except (ConfigError, OSError):
        return {}


def _of_model(
    run: OpenedRun,
    kinds: Sequence[str],
    indices: Sequence[int] | None,
    split: Literal["validation", "test"] | None,
) -> dict[str, Callable[[Path], None]]:
    """The function that draws each plot of one model."""
    model, config, spec = run
    key = evaluation_key(config)
    draw: dict[str, Callable[[Path], None]] = {}
    if "schedule" in kinds and isinstance(model, AbstractGaussianModel):
        draw["schedule"] = lambda path: plot_schedule(path, model.schedule)
    if "prototypes" in kinds and isinstance(model.embedding, PrototypeEmbedding):
        images = np.asarray(model.embedding.matrix).reshape(-1, *spec.image_shape)
        draw["prototypes"] = lambda path: plot_prototypes(path, images, spec.class_names)
    if not {"cost", "trajectories", "confusion"} & set(kinds):
        return draw
    splits = load_data(config)
    prediction = build_prediction(config, model, spec)

    def part(name: Literal["validation", "test"]) -> data.Dataset:
        return check_data(split_of(splits, name), spec)

    shown = split or "test"
    if "trajectories" in kinds and not isinstance(model, OneBlock):
        images_shown = part(shown)
        check_indices(indices or (), images_shown)  # before anything is drawn
        draw["trajectories"] = lambda path: plot_trajectories(
            path, model, images_shown, key=key, indices=indices, prediction=prediction
        )
    if "confusion" in kinds:
        draw["confusion"] = lambda path: plot_confusion(path, model, part(shown), key=key, prediction=prediction)
    if "cost" in kinds and (isinstance(model, AbstractGaussianModel) or model.protocols):
        by = split or "validation"
        draw["cost"] = lambda path: plot_cost(path, model, part(by), ways_by_cost(model), key=key, split=by)
    return draw
