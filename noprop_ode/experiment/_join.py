"""A model joined from blocks that were trained in separate runs."""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx

from .. import OneBlock, join_blocks
from .._block_model import AbstractBlockModel
from ._build import build_model, protocols
from ._context import DataSpec
from ._data import load_data
from ._errors import ConfigError
from ._run import finish
from ._run_folder import ELSEWHERE, differences, forget_failed_start, open_folder
from ._saved import MODEL_FILE, load_model
from .report._open import check_data


def join_runs(
    runs: Sequence[str | os.PathLike[str]],
    *,
    folder: str | os.PathLike[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    trust_imports: bool = False,
) -> dict[str, Any]:
    """Joins runs that each trained one block (`training.one_block`) into one model, and evaluates it on the test set.

    **Arguments:**

    - `runs`: the folders of the runs, one per block, in any order.
    - `folder`: for the joined model, with the files of a run; a new one below `runs/` if not given.
    - `data_dir`: folder of prepared data sets, if not that of the first run.
    - `trust_imports`: as in [`noprop_ode.experiment.load_model`][].

    **Returns:** the summary.

    **Raises:** `ConfigError` unless the runs have the same settings except for the block, and there is one per block;
    otherwise as for [`noprop_ode.experiment.run`][].
    """
    started = time.perf_counter()
    if not runs:
        raise ConfigError("Expected the folders of runs, one for each block; got none.")
    loaded = [load_model(run, trust_imports=trust_imports) for run in runs]
    _, first, spec = loaded[0]
    parts: list[OneBlock] = []
    for run, (part, config, own) in zip(runs, loaded):
        if not isinstance(part, OneBlock):
            raise ConfigError(f"{run} did not train one block: expected a run with training.one_block; it had none.")
        if found := differences(first.to_plain(), config, (("training", "one_block"), *ELSEWHERE)):
            raise ConfigError(
                f"{run} has other settings than {runs[0]}: {', '.join(found)}. Blocks of one model agree."
            )
        if own.image_shape != spec.image_shape or own.class_names != spec.class_names or not _near(own, spec):
            raise ConfigError(
                f"{run} was trained on other data than {runs[0]}: shape, names or order of the classes, or mean and "
                "deviation of the pixels differ. Blocks of one model train on the same data."
            )
        parts.append(part)
    out = None if folder is None else Path(folder)
    config = first.replace(training={"one_block": None}, output={"dir": out})
    if data_dir is not None:
        config = config.replace(data={"dir": Path(data_dir)})
    skeleton = eqx.filter_eval_shape(lambda: build_model(config, spec))
    assert isinstance(skeleton, AbstractBlockModel)
    try:
        model = join_blocks(skeleton, parts)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    splits = load_data(config)
    if splits.test is None:
        raise ConfigError(f"data.name: {config.data.name.type!r} has no test part, which the summary is about.")
    test, how = check_data(splits.test, spec), protocols(config, model, spec)

    def training() -> dict[str, Any]:
        return {
            "joined": [os.fspath(run) for run in runs],
            "wall_seconds": round(time.perf_counter() - started, 2),
        }

    with open_folder(config) as opened:
        try:
            return finish(opened, config, model, spec, test, how, training)
        except BaseException:
            if not (opened / MODEL_FILE).exists():
                forget_failed_start(opened)  # it would be taken for a run of the whole model that can be resumed
            raise


def _near(one: DataSpec, other: DataSpec) -> bool:
    """Whether the pixels have the same statistics, up to rounding."""
    return math.isclose(one.mean, other.mean, rel_tol=1e-4) and math.isclose(one.std, other.std, rel_tol=1e-4)
