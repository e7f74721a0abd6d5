"""Measurements of a finished run besides its own evaluation; each function runs in its own process."""

import json
import math
from pathlib import Path
from typing import Any

import jax.random as jr

from ... import AbstractGaussianModel, AbstractModel, Evaluation, Prediction, RunFolder, encode, evaluate
from .._build import build_prediction, paper_prediction
from .._config import Config
from .._context import DataSpec
from .._data import load_data
from .._evaluate import evaluation_key
from .._saved import MEASURED_FILES, load_model
from ..report import CostPoint, check_data, measure_cost, split_of, ways_by_cost


DRAWS_FILE, EVALUATIONS_FILE, VIEWS_FILE = MEASURED_FILES


def measured(folder: Path, name: str, epochs: int) -> dict[str, Any] | None:
    """An earlier measurement of a run, if its model had this many epochs: a run can be extended.

    **Arguments:** the folder of the run, the name of the file, and the epochs.
    """
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("epochs") == epochs else None


def measure_draws(folder: str, draws: str, data_dir: str = "", trusted: str = "") -> None:
    """Evaluates a run with the paper's protocol and several draws of noise, and saves the results in the run's folder;
    with them those of one evaluation at the mean of the noise, and the mean probability that it gives the true class:
    the accuracy of trajectories that end at a class drawn from these probabilities.

    **Arguments:** the folder, and the number of draws, as text; the data folder, if not that of the run; and any text
    if the code that the run imports may be run.
    """
    model, config, spec = _opened(folder, data_dir, trusted)
    test, how = check_data(split_of(load_data(config), "test"), spec), paper_prediction(config, model)
    before = measured(Path(folder), DRAWS_FILE, config.training.epochs) or {}
    found = before.get("draws", [])  # from a process that was stopped, or was asked for fewer
    once = {"once": before["once"]} if "once" in before else {}
    images = encode(model, test.images, mirror=how.mirror, shift=how.shift)
    key = jr.fold_in(evaluation_key(config), 1)

    def keep() -> None:
        _keep(folder, DRAWS_FILE, {"epochs": config.training.epochs, "draws": found, **once})

    if not once and draws_classes(config.model.variant.type):
        at_the_mean = model.protocols.get("mean ddim-1", model.default_prediction)
        each = evaluate(model, images, test.labels, key=key, prediction=at_the_mean)
        once = {"once": {**_figures(each), "probability": each.probability}}
        keep()
    for i in range(len(found), int(draws)):
        each = evaluate(model, images, test.labels, key=jr.fold_in(key, i), prediction=how)
        found.append(_figures(each))
        keep()


def draws_classes(variant: str) -> bool:
    """Whether models of a variant give, from the mean of the noise, probabilities that their trajectories follow."""
    return variant in ("ct", "dt")


def measure_evaluations(folder: str, data_dir: str = "", trusted: str = "") -> None:
    """Evaluates a run with every sampler and a growing number of evaluations, on its validation images, because a
    sampler is a setting. The results are saved in the run's folder; a model without dynamics has none.

    **Arguments:** the folder, as text; the others as for `measure_draws`.
    """
    model, config, spec = _opened(folder, data_dir, trusted)
    images, ways = check_data(split_of(load_data(config), "validation"), spec), {}
    if isinstance(model, AbstractGaussianModel) or model.protocols:
        ways = {**ways_by_cost(model), "the default": [_own_way(config, model, spec)]}
    points = measure_cost(model, images, ways, key=evaluation_key(config)) if ways else {}
    found = {
        "epochs": config.training.epochs,
        "split": "validation",
        "images": len(images),
        "points": {name: [_plain(point) for point in own] for name, own in points.items()},
    }
    _keep(folder, EVALUATIONS_FILE, found)


def measure_views(folder: str, data_dir: str = "", trusted: str = "") -> None:
    """Evaluates a run with its own prediction, averaged over each image and its mirror image, and over these as they
    are and shifted by a pixel: on validation images, to choose by, and on test images. The results are saved in the
    run's folder.

    **Arguments:** the folder, as text; the others as for `measure_draws`.
    """
    model, config, spec = _opened(folder, data_dir, trusted)
    mirrored = _own_way(config, model, spec)._replace(mirror=True)
    data, found = load_data(config), {}
    for name, how in (("mirrored", mirrored), ("shifted", mirrored._replace(shift=1))):
        found[name] = {}
        for split in ("validation", "test"):
            images = check_data(split_of(data, split), spec)
            each = evaluate(model, images.images, images.labels, key=evaluation_key(config), prediction=how)
            found[name][split] = _figures(each)
    _keep(folder, VIEWS_FILE, {"epochs": config.training.epochs, **found})


def _figures(each: Evaluation) -> dict[str, float]:
    return {"accuracy": each.accuracy, "nll": each.nll, "nfe": each.num_evaluations}


def _keep(folder: str, name: str, found: dict[str, Any]) -> None:
    with RunFolder(Path(folder)) as run:
        run.write(name, (json.dumps(found) + "\n").encode())


def _opened(folder: str, data_dir: str, trusted: str) -> tuple[AbstractModel, Config, DataSpec]:
    model, config, spec = load_model(folder, trust_imports=bool(trusted))
    return model, config.replace(data={"dir": Path(data_dir)}) if data_dir else config, spec


def _own_way(config: Config, model: AbstractModel, spec: DataSpec) -> Prediction:
    """The model's own prediction, even if the run was to be evaluated with the paper's protocol."""
    return (
        build_prediction(config, model, spec) if config.prediction.protocol == "default" else model.default_prediction
    )


def _plain(point: CostPoint) -> list[float | None]:
    """Values for JSON, which has no infinity."""
    return [round(value, 6) if math.isfinite(value) else None for value in point]
