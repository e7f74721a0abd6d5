from pathlib import Path

import equinox as eqx
import jax.random as jr

from .. import AbstractModel
from ._build import build_model
from ._checkpoint import load_arrays, read_header
from ._config import Config
from ._context import DataSpec
from ._errors import RunError
from ._recipes import load_config


MODEL_FILE = "model.noprop"


def load_model(
    folder: Path, *, best: bool = False, trust_imports: bool = False
) -> tuple[AbstractModel, Config, DataSpec]:
    """A model from the folder of a run.

    **Arguments:**

    - `folder`: the output folder.
    - `best`: the one with the best validation accuracy, instead of the one that was evaluated.
    - `trust_imports`: as in [`noprop_ode.experiment.Config.from_plain`][].

    **Returns:** the model, the settings of the run, and the description of its data.

    **Raises:** `FileNotFoundError`, or [`noprop_ode.experiment.CheckpointError`][] if the file is damaged.
    """
    path = folder / "checkpoints" / "best.noprop" if best else folder / MODEL_FILE
    metadata = read_header(path)
    config = Config.from_plain(metadata["config"], trust_imports=trust_imports, source=str(path))
    spec = DataSpec.from_plain(metadata["data"])
    skeleton = eqx.filter_eval_shape(lambda key: build_model(config, spec, key=key), jr.key(0))
    return load_arrays(path, skeleton), config, spec


def load_run_config(folder: Path, *, trust_imports: bool = False) -> Config:
    """The settings of a run, finished or not.

    **Raises:** `RunError` if there is no run.
    """
    if not (folder / "config.yaml").exists():
        raise RunError(f"{folder} holds no run: it has no config.yaml.")
    return load_config(folder / "config.yaml", trust_imports=trust_imports)
