from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import diffrax
import numpy as np

from .. import ODE, AbstractGaussianModel, Ancestral, NoPropFM, PrototypeEmbedding, ReadoutDecoder
from ._data import load_data
from ._errors import RunError
from ._log import read_records
from ._plots import (
    plot_confusion,
    plot_cost,
    plot_learning_curves,
    plot_prototypes,
    plot_schedule,
    plot_trajectories,
)
from ._run import evaluation_key
from ._saved import load_model


def plot_runs(
    runs: Sequence[Path],
    out: Path,
    *,
    kinds: Sequence[str],
    indices: Sequence[int],
    suffix: str = "png",
    data_dir: Path | None = None,
) -> Iterator[Path]:
    """Draws the plots of runs: learning curves of all of them, everything else of the first.

    **Arguments:**

    - `runs`: output folders.
    - `out`: folder for the plots.
    - `kinds`: among `learning`, `cost`, `schedule`, `trajectories`, `prototypes` and `confusion`; those that do not
        apply to the model are left out.
    - `indices`: test images whose trajectories to show.
    - `suffix`: `"png"` or `"svg"`.
    - `data_dir`: where prepared data sets are.

    **Yields:** the path of each plot, once it is there.

    **Raises:** `RunError` for a folder without a run, or an image that does not exist.
    """
    if "learning" in kinds:
        alike = len({run.name for run in runs}) < len(runs)
        records = {str(run) if alike else run.name: read_records(run / "metrics.jsonl") for run in runs}
        if missing := [name for name, found in records.items() if not found]:
            raise RunError(f"There are no metrics of a run in {missing[0]}.")
        path = out / f"learning_curve.{suffix}"
        plot_learning_curves(path, records)
        yield path
    rest = [k for k in kinds if k != "learning"]
    if not rest:
        return
    model, config, spec = load_model(runs[0])
    config = config if data_dir is None else config.replace(data={"dir": str(data_dir)})
    key = evaluation_key(config)
    if "schedule" in rest and isinstance(model, AbstractGaussianModel):
        path = out / f"schedule.{suffix}"
        plot_schedule(path, model.schedule)
        yield path
    if "prototypes" in rest and isinstance(model.embedding, PrototypeEmbedding):
        path = out / f"prototypes.{suffix}"
        images = np.asarray(model.embedding.matrix).reshape(-1, *spec.image_shape)
        plot_prototypes(path, images, spec.class_names)
        yield path
    if not {"cost", "trajectories", "confusion"} & set(rest):
        return
    test = load_data(config).test
    if beyond := [i for i in indices if not 0 <= i < len(test)]:
        raise RunError(f"There is no test image {beyond[0]}; they are numbered from 0 to {len(test) - 1}.")
    if "trajectories" in rest:
        path = out / f"probabilities.{suffix}"
        plot_trajectories(path, model, test, key=key, indices=indices)
        yield path
    if "confusion" in rest:
        path = out / f"confusion.{suffix}"
        plot_confusion(path, model, test, key=key)
        yield path
    if "cost" in rest and isinstance(model, AbstractGaussianModel | NoPropFM):
        path = out / f"cost.{suffix}"
        plot_cost(path, model, test, _by_cost(model), key=key)
        yield path


def _by_cost(model: Any) -> dict[str, list[dict[str, Any]]]:
    """Samplers by name, each with growing numbers of steps; one draw of noise, the readout."""
    counts = (1, 2, 4, 8, 16, 32)
    ways: dict[str, list[Any]] = {
        "Euler": [ODE(diffrax.Euler(), steps=n) for n in counts],
        "Heun": [ODE(diffrax.Heun(), steps=n) for n in counts],
    }
    if isinstance(model, AbstractGaussianModel):
        ways["DDIM"] = [Ancestral(n, churn=0.0) for n in counts]
        ways["ancestral"] = [Ancestral(n) for n in counts]
    fixed = {"start": "noise", "decoder": ReadoutDecoder()}
    return {name: [{**fixed, "sampler": s} for s in samplers] for name, samplers in ways.items()}
