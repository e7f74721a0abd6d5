"""What is measured of a finished run beside its own evaluation; each a function of a process of its own."""

import json
import math
from pathlib import Path
from typing import Any

import jax.random as jr

from ... import AbstractGaussianModel, NoPropFM, RunFolder, encode, evaluate
from .._build import build_prediction, paper_prediction
from .._data import load_data
from .._evaluate import evaluation_key
from .._saved import load_model
from ..report import CostPoint, measure_cost, split_of, ways_by_cost


DRAWS_FILE, EVALUATIONS_FILE, VIEWS_FILE = "draws.json", "evaluations.json", "views.json"


def measured(folder: Path, name: str, epochs: int) -> dict[str, Any] | None:
    """What was measured of a run, if it was of the model of so many epochs: a run can be extended.

    **Arguments:** the folder of the run, the name of the file, and the epochs.
    """
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("epochs") == epochs else None


def measure_draws(folder: str, draws: str, trusted: str = "") -> None:
    """Evaluates a run by the paper's way of predicting with several draws of noise, and keeps what it found in the
    run's folder.

    **Arguments:** the folder, and the number of draws, as text; and anything if the code may be run that the run
    imports.
    """
    model, config, _ = load_model(folder, trust_imports=bool(trusted))
    test, how = split_of(load_data(config), "test"), paper_prediction(config, model)
    before = measured(Path(folder), DRAWS_FILE, config.training.epochs) or {}
    found = before["draws"] if before.get("of") == int(draws) else []  # those of a process that was stopped
    images = encode(model, test.images, mirror=how.mirror, shift=how.shift)
    for key in jr.split(jr.fold_in(evaluation_key(config), 1), int(draws))[len(found) :]:
        each = evaluate(model, images, test.labels, key=key, prediction=how)
        found.append({"accuracy": each.accuracy, "nll": each.nll, "nfe": each.num_evaluations})
        with RunFolder(Path(folder)) as run:
            content = {"epochs": config.training.epochs, "of": int(draws), "draws": found}
            run.write(DRAWS_FILE, (json.dumps(content) + "\n").encode())


def measure_evaluations(folder: str, trusted: str = "") -> None:
    """Evaluates a run by every sampler with a growing number of evaluations, on its validation images, because a
    sampler is a setting. What it found is kept in the run's folder; of a model without dynamics, nothing.

    **Arguments:** the folder, as text, and `trusted` as for `measure_draws`.
    """
    model, config, spec = load_model(folder, trust_imports=bool(trusted))
    images, ways = split_of(load_data(config), "validation"), {}
    if isinstance(model, AbstractGaussianModel | NoPropFM):
        ways = {**ways_by_cost(model), "the default": [build_prediction(config, model, spec)]}
    points = measure_cost(model, images, ways, key=evaluation_key(config)) if ways else {}
    found = {
        "epochs": config.training.epochs,
        "split": "validation",
        "images": len(images),
        "points": {name: [_plain(point) for point in own] for name, own in points.items()},
    }
    with RunFolder(Path(folder)) as run:
        run.write(EVALUATIONS_FILE, (json.dumps(found) + "\n").encode())


def measure_views(folder: str, trusted: str = "") -> None:
    """Evaluates a run by its own way, averaged over each image and its mirror image, and over these as they are and
    shifted by a pixel: on validation images, by which either may be chosen, and on test images. What it found is kept
    in the run's folder.

    **Arguments:** the folder, as text, and `trusted` as for `measure_draws`.
    """
    model, config, spec = load_model(folder, trust_imports=bool(trusted))
    mirrored = build_prediction(config, model, spec)._replace(mirror=True)
    data, found = load_data(config), {}
    for name, how in (("mirrored", mirrored), ("shifted", mirrored._replace(shift=1))):
        found[name] = {}
        for split in ("validation", "test"):
            images = split_of(data, split)
            each = evaluate(model, images.images, images.labels, key=evaluation_key(config), prediction=how)
            found[name][split] = {"accuracy": each.accuracy, "nll": each.nll, "nfe": each.num_evaluations}
    with RunFolder(Path(folder)) as run:
        content = {"epochs": config.training.epochs, **found}
        run.write(VIEWS_FILE, (json.dumps(content) + "\n").encode())


def _plain(point: CostPoint) -> list[float | None]:
    """For JSON, which knows no infinity."""
    return [round(value, 6) if math.isfinite(value) else None for value in point]
