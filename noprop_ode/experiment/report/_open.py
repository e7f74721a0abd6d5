"""What the commands after training share: a run's model, its data, and how to predict."""

import argparse
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ... import AbstractModel, data
from ..._types import AnyPath
from .._config import Config
from .._context import DataSpec
from .._errors import ConfigError, RunError
from .._saved import load_model
from ._text import printable, shortened


class OpenedRun(NamedTuple):
    """The model of a run, its settings, and the description of its data."""

    model: AbstractModel
    config: Config
    spec: DataSpec


def open_run(
    run: AnyPath,
    *,
    best: bool = False,
    trust_imports: bool = False,
    data_dir: AnyPath | None = None,
    prediction: dict[str, Any] | None = None,
) -> OpenedRun:
    """Loads the model of a run, and changes some of its settings.

    **Arguments:**

    - `run`: output folder of a run.
    - `best`: the model with the best validation accuracy, instead of the one that was evaluated.
    - `trust_imports`: whether to import the modules that the run names, which runs their code.
    - `data_dir`: folder of prepared data sets, if not that of the run.
    - `prediction`: settings of the prediction that differ from those of the run.

    **Returns:** the model, the settings and the description of the data.

    **Raises:** as for [`noprop_ode.experiment.load_model`][], `ConfigError` for bad settings, and `RunError` for images
    of another size than the model's.
    """
    model, config, spec = load_model(run, best=best, trust_imports=trust_imports)
    size = config.data.image_size
    if size is not None and size != tuple(spec.image_shape)[:2]:  # before a whole data set is resized
        raise RunError(f"{run} brings images to {list(size)}, but its model was trained on {list(spec.image_shape)}.")
    if prediction and config.training.one_block is not None:
        raise ConfigError(
            f"{run} trained one block, which predicts in one way alone; other ways are of the model that blocks make "
            "(noprop-ode join)."
        )
    if prediction:
        config = config.replace(prediction=prediction)
    if data_dir is not None:
        config = config.replace(data={"dir": str(data_dir)})
    return OpenedRun(model, config, spec)


def split_of(splits: data.Splits, name: Literal["validation", "test"]) -> data.Dataset:
    """One part of the data.

    **Raises:** `RunError` if there is no such part.
    """
    part = splits.validation if name == "validation" else splits.test
    if part is None:
        raise RunError(f"The data set {splits.train.name!r} has no {name} part.")
    return part


def check_data(images: data.Dataset, spec: DataSpec) -> data.Dataset:
    """Refuses data other than those that a model was trained on: the figures would mean nothing.

    **Arguments:** the data, and the description in the header of the model. **Returns:** the data.

    **Raises:** `RunError` for another shape of images, or other classes or another order of them.
    """
    if tuple(images.image_shape) != tuple(spec.image_shape):
        raise RunError(
            f"The model was trained on images of {list(spec.image_shape)}, but those of {printable(images.name)} are "
            f"{list(images.image_shape)}; evaluate it on the data of its run."
        )
    expected, found = tuple(spec.class_names), tuple(images.class_names)
    if expected != found:
        different = [i for i, (a, b) in enumerate(zip(expected, found)) if a != b]
        if len(expected) != len(found):
            what = f"{len(expected)} classes, but {printable(images.name)} has {len(found)}"
        else:
            i = different[0]
            what = (
                f"other classes than {printable(images.name)} has: class {i} was {shortened(repr(expected[i]))}, and "
                f"is {shortened(repr(found[i]))}"
            )
        raise RunError(f"The model was trained on {what}; evaluate it on the data of its run.")
    return images


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of every command about saved models: `--best`, `--trust-imports`, `--data-dir`."""
    parser.add_argument("--best", action="store_true", help="use the model with the best validation accuracy")
    parser.add_argument(
        "--trust-imports",
        action="store_true",
        help="import the modules that the run names in its settings: they can do anything, so only for a run you trust",
    )
    parser.add_argument("--data-dir", type=Path, help="folder of prepared data sets, if not that of the run")


def add_prediction_flags(parser: argparse.ArgumentParser) -> None:
    """Flags for another prediction: `--sampler`, `--steps`, `--early-exit`, `--start`, `--decoder`, `--draws`,
    `--mirror`, `--shift`."""
    parser.add_argument("--sampler", help="a sampler: ode, adaptive, ancestral, ddim, sde, or an ODE solver by name")
    parser.add_argument("--steps", type=int, help="number of steps of the sampler")
    parser.add_argument("--early-exit", type=float, help="class probability at which to stop")
    parser.add_argument("--start", choices=("noise", "mean"))
    parser.add_argument("--decoder", choices=("denoiser", "readout", "posterior"))
    parser.add_argument("--draws", type=int, help="trajectories to average")
    parser.add_argument(
        "--mirror", action=argparse.BooleanOptionalAction, help="average over each image and its mirror image"
    )
    parser.add_argument("--shift", type=int, help="and over each shifted by this many pixels towards its corners")


def prediction_changes(args: argparse.Namespace) -> dict[str, Any]:
    """The `prediction` settings that the flags of `add_prediction_flags` change.

    **Raises:** `ConfigError` for flags that need another one.
    """
    changes = {k: v for k in ("start", "decoder", "draws", "mirror", "shift") if (v := getattr(args, k)) is not None}
    settings = {k: v for k in ("steps", "early_exit") if (v := getattr(args, k)) is not None}
    if args.sampler is None:
        if settings:
            raise ConfigError("--steps and --early-exit belong to a --sampler; name one, such as --sampler heun.")
        return changes
    return {**changes, "sampler": {"type": args.sampler, **settings}}
