import reprlib
from pathlib import Path

import equinox as eqx
import jax.random as jr

from .. import AbstractModel
from ._build import build_model
from ._checkpoint import load_arrays, read_header
from ._config import Config
from ._context import DataSpec
from ._errors import RunError
from ._yaml import import_components, load_config


MODEL_FILE = "model.noprop"


def load_model(
    folder: Path | str, *, best: bool = False, trust_imports: bool = False
) -> tuple[AbstractModel, Config, DataSpec]:
    """A model from the folder of a run.

    **Arguments:**

    - `folder`: the output folder.
    - `best`: the one with the best validation accuracy, instead of the one that was evaluated.
    - `trust_imports`: whether to import the modules that the run names, which runs their code.

    **Returns:** the model, the settings of the run, and the description of its data.

    **Raises:** `FileNotFoundError`, or [`noprop_ode.experiment.CheckpointError`][] if the file is damaged,
    `RunError` for a run that imports modules without trust.
    """
    folder = Path(folder)
    path = folder / "checkpoints" / "best.noprop" if best else folder / MODEL_FILE
    metadata = read_header(path)
    if imports := tuple(metadata["config"].get("imports", ())):
        if not trust_imports:
            raise RunError(
                f"The run at {folder} imports {reprlib.repr(imports)}, which runs that code; if you trust it, "
                "say so by --trust-imports."
            )
        import_components(imports)
    config, spec = Config.from_plain(metadata["config"]), DataSpec.from_plain(metadata["data"])
    skeleton = eqx.filter_eval_shape(lambda key: build_model(config, spec, key=key), jr.key(0))
    return load_arrays(path, skeleton), config, spec


def load_run_config(folder: Path) -> Config:
    """The settings of a run, finished or not.

    **Raises:** `RunError` if there is no run.
    """
    if not (folder / "config.yaml").exists():
        raise RunError(f"{folder} holds no run: it has no config.yaml.")
    return load_config(folder / "config.yaml")
