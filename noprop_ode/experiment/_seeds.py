"""The same experiment with several seeds: one run each, and their joint results."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import RunError, RunFolder
from ._config import Config
from ._environment import write_json
from ._errors import ConfigError, show
from ._recipes import read_yaml
from ._run import run
from ._run_folder import ELSEWHERE, differences
from ._saved import CONFIG_FILE, SUMMARY_FILE
from .report import plot_runs


SEEDS_FILE = "seeds.json"
_FIGURES = ("accuracy", "nll", "calibration_error")


def parse_seeds(text: str) -> list[int]:
    """The seeds of a flag: `0,1,5`, or their number, `3` for 0, 1 and 2.

    **Raises:** `ConfigError` for anything else.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        raise ConfigError(f"--seeds: expected seeds such as 0,1,2 or their number such as 3; got {show(text)}.")
    seeds = [int(part) for part in parts]
    if "," not in text:
        if not 1 <= seeds[0] <= 1000:
            raise ConfigError(f"--seeds: expected from 1 to 1000 of them; got {seeds[0]}. For one seed: --seed.")
        return list(range(seeds[0]))
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds: each at most once; got {show(text)}.")
    return seeds


def run_seeds(config: Config, seeds: Sequence[int]) -> dict[str, Any]:
    """Runs an experiment once per seed, in subfolders `seed0`, `seed1`, ... of one folder, and writes their joint
    results there: `seeds.json`, and the learning curves with a band.

    Called again with the same folder, it continues: a finished run is read, one that was stopped is resumed.

    **Arguments:** the settings, and the seeds.

    **Returns:** the `seeds`, and under `samplers`, by prediction, mean, standard error and values of each figure; the
    standard error of a single seed is `None`.

    **Raises:** as for [`noprop_ode.experiment.run`][].
    """
    where, stem = config.output.dir, f"{config.name}-seeds".replace("/", "-")
    with RunFolder.numbered(Path("runs"), stem) if where is None else RunFolder(where) as folder:
        goes_on = any(folder.path.glob(f"seed*/{CONFIG_FILE}"))
        folder.claim([CONFIG_FILE] if goes_on else [CONFIG_FILE, SEEDS_FILE, "learning_curve.png"])
        print(f"{len(seeds)} seeds; writing to {folder.path}; if stopped, resume with --out {folder.path}", flush=True)
        paths = {seed: folder / f"seed{seed}" for seed in seeds}
        summaries = [_summary_of(config, seed, path) for seed, path in paths.items()]
        found = {"seeds": list(seeds), "samplers": together([summary["samplers"] for summary in summaries])}
        write_json(folder, SEEDS_FILE, found)
        _print(found)
        try:
            list(plot_runs(list(paths.values()), folder.path, kinds=("learning",)))
        except Exception as error:  # the figures are what counts
            print(f"warning: the learning curves could not be drawn: {error}", file=sys.stderr)
    print(f"written to {folder.path}")
    default = found["samplers"]["default"]["accuracy"]
    error = "unknown" if default["standard_error"] is None else f"{default['standard_error']:.4f}"
    print(f"test_accuracy={default['mean']:.4f} standard_error={error} seeds={len(seeds)}")
    return found


def together(results: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """The joint results of the evaluations of several runs.

    **Arguments:** for each run, figures by prediction. **Returns:** `mean`, `standard_error` and `values` of each
    figure; for predictions that every run has.
    """
    names = [name for name in results[0] if all(name in result for result in results)]
    return {name: {figure: _mean([r[name][figure] for r in results]) for figure in _FIGURES} for name in names}


def _mean(values: list[float]) -> dict[str, Any]:
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "standard_error": error, "values": values}


def _summary_of(config: Config, seed: int, path: Path) -> dict[str, Any]:
    """The summary of one seed: of a run that is finished, resumed or new."""
    own = config.replace(training={"seed": seed}, output={"dir": str(path)})
    if not (path / SUMMARY_FILE).exists():
        goes_on = (path / CONFIG_FILE).exists()
        if goes_on:
            _refuse_others(path, differences(read_yaml(path / CONFIG_FILE), own, ELSEWHERE))
        return run(own, resume=path if goes_on else None)
    try:
        summary = json.loads((path / SUMMARY_FILE).read_text(encoding="utf-8"))
        other = differences(summary["config"], own, ELSEWHERE)
        together([summary["samplers"]])["default"]  # everything that is needed is there
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{path / SUMMARY_FILE} cannot be read: {type(error).__name__}. Move it away.") from error
    _refuse_others(path, other)
    print(f"{path} is finished already")
    return summary


def _refuse_others(path: Path, other: list[str]) -> None:
    if other:
        raise ConfigError(f"The run at {path} had other settings: {', '.join(other)}. Choose another folder.")


def _print(found: dict[str, Any]) -> None:
    print(f"{'mean and standard error':24s} {'accuracy':>17s} {'nll':>17s} {'ece':>17s}")
    for name, row in found["samplers"].items():
        cells = [
            f"{row[f]['mean']:.4f}" + ("" if row[f]["standard_error"] is None else f" ± {row[f]['standard_error']:.4f}")
            for f in _FIGURES
        ]
        print(f"{name:24s} " + " ".join(f"{cell:>17s}" for cell in cells))
