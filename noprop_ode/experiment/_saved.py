"""Loads a run from its folder."""

import json
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import AbstractModel, CheckpointError, RunError, load_arrays, read_header
from .._training.files import reason, shown
from .._training.folder import CHECKPOINTS
from .._training.store import BEST
from ._build import build_model
from ._config import Config
from ._context import DataSpec
from ._errors import ConfigError
from ._recipes import load_config


CONFIG_FILE, MODEL_FILE, SUMMARY_FILE = "config.yaml", "model.safetensors", "summary.json"
MEASURED_FILES = ("draws.json", "evaluations.json", "views.json")  # by `noprop-ode reproduce run`


def finished_epochs(folder: Path) -> int:
    """For how many epochs the run in a folder was trained when it was last evaluated.

    **Returns:** the number in its summary; 0 without one, or if it cannot be read.
    """
    try:
        return int(json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))["config"]["training"]["epochs"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0


def _why_not(folder: Path, path: Path) -> str:
    """What to say of a model that is not there."""
    if folder.is_file():
        return f"Expected the folder of a run; got the file {folder}. Weights alone are read by noprop_ode.load_arrays."
    if not folder.exists():
        return f"There is no folder {folder}."
    if not (folder / CONFIG_FILE).exists():
        return f"{folder} holds no run: it has neither {path.relative_to(folder)} nor {CONFIG_FILE}."
    best = (folder / CHECKPOINTS / BEST).exists() and path.name != BEST
    also = " Its best model so far is read with best=True (--best)." if best else ""
    return f"The run in {folder} is not finished, and has no {path.name}; go on with it by --resume {folder}.{also}"


def load_model(
    folder: str | os.PathLike[str], *, best: bool = False, trust_imports: bool = False
) -> tuple[AbstractModel, Config, DataSpec]:
    """Loads a model from the folder of a run. A folder from somebody else is only data, unless you trust its imports.

    **Arguments:**

    - `folder`: the output folder.
    - `best`: the model with the best validation accuracy, instead of the one that was evaluated.
    - `trust_imports`: import the modules that the run's settings name, which runs their code.

    **Returns:** the model, the settings of the run, and the description of its data.

    **Raises:** `FileNotFoundError`, [`noprop_ode.CheckpointError`][] if the file is damaged, and `ConfigError` if its
    settings are not understood, or name imports that are not trusted.
    """
    path = Path(folder) / CHECKPOINTS / BEST if best else Path(folder) / MODEL_FILE
    try:
        if os.path.isfile(folder):
            raise FileNotFoundError(f"{folder} is a file")
        metadata = read_header(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(_why_not(Path(folder), path)) from error
    if "config" not in metadata:
        raise CheckpointError(
            f"{path} does not say which model it holds: it was not written by `noprop-ode train`. Build the model as "
            "the script that trained it does, and read its weights by noprop_ode.load_arrays(path, model)."
        )
    try:
        config = Config.from_plain(metadata["config"], trust_imports=trust_imports, source=str(path))
        spec = DataSpec.from_plain(metadata["data"])
        skeleton = eqx.filter_eval_shape(lambda: build_model(config, spec))
    except ConfigError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not say which model it holds: {type(error).__name__}: {str(error)[:300]}."
        ) from error
    return _finite(load_arrays(path, skeleton), path), config, spec


def warm_start(model: AbstractModel, start: Path) -> AbstractModel:
    """A model with the weights of another run, whatever the settings of that run.

    **Arguments:** the model, whose arrays they must fit, and the folder of the run or a file of its weights.

    **Raises:** [`noprop_ode.RunError`][] if there are no weights, [`noprop_ode.CheckpointError`][] if they do not fit.
    """
    try:
        path = start / MODEL_FILE if start.is_dir() else start
        there = path.exists()
    except OSError as error:
        raise RunError(f"training.warm_start: {shown(start)} cannot be read: {reason(error)}.") from error
    if not there:
        raise RunError(
            f"training.warm_start: there is no {path}; name the folder of a finished run, or one of the "
            f"checkpoints/best.safetensors that a run leaves."
        )
    return _finite(load_arrays(path, model), path)


def _finite(model: AbstractModel, path: Path) -> AbstractModel:
    # A model may have infinite ones on purpose.
    if any(bool(jnp.isnan(a).any()) for a in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))):
        raise CheckpointError(f"{path} holds weights that are not numbers; no run of ours saves such a model.")
    return model


def load_run_config(folder: str | os.PathLike[str], *, trust_imports: bool = False, **changes: Any) -> Config:
    """The settings of a run, finished or not.

    **Arguments:** the `folder`, whether to import what the settings name, and `changes` by section as for
    [`noprop_ode.experiment.Config.replace`][].

    **Raises:** [`noprop_ode.RunError`][] if there is no run.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        there = path.exists()
    except OSError as error:
        raise RunError(f"{shown(path)} cannot be read: {reason(error)}.") from error
    if not there:
        raise RunError(f"{shown(Path(folder))} holds no run: it has no {CONFIG_FILE}.")
    config = load_config(path, trust_imports=trust_imports)
    return config.replace(**changes) if changes else config
