"""A run from its settings to its folder: build the objects, fit, evaluate, write the summary."""

import dataclasses
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import equinox as eqx

from .. import (
    AbstractModel,
    FitResult,
    Interrupted,
    Prediction,
    RunError,
    RunFolder,
    TensorBoard,
    WeightsAndBiases,
    data,
    fit,
    read_header,
    save_arrays,
)
from .._types import AnyPath
from ._build import build_learning_rate, build_model, build_optimiser, protocols
from ._config import Config
from ._data import describe, load_data
from ._environment import device, versions, write_json
from ._errors import ConfigError
from ._evaluate import evaluate_protocols, evaluation_key, print_table
from ._saved import CONFIG_FILE, MODEL_FILE, SUMMARY_FILE
from ._yaml import dump_yaml
from .report._draw import draw_plots


# What a run writes besides checkpoints, and so must not find.
_FILES = (CONFIG_FILE, MODEL_FILE, SUMMARY_FILE, "metrics.jsonl", "environment.json", "tensorboard", "wandb")
_PLOTS = ("learning_curve.png", "probabilities.png", "confusion.png")


def run(config: Config, *, resume: AnyPath | None = None) -> dict[str, Any]:
    """Trains a classifier, evaluates it on the test set, and leaves a folder with everything about it.

    The folder holds `config.yaml`, `metrics.jsonl`, `checkpoints/`, the model, `summary.json` and plots. The test set
    is used once, at the end, by the model of the last epoch; with `training.patience`, by the best on the validation
    split.

    **Arguments:**

    - `config`: the settings.
    - `resume`: the folder of a run with these settings, to go on with. More epochs than it began with extend it.

    **Returns:** the summary.

    **Raises:** `noprop_ode.data.DatasetError` if the data cannot be had, `ConfigError` for settings that do not
    go together, [`noprop_ode.RunError`][] if the folder cannot be used, [`noprop_ode.Interrupted`][] after a signal,
    and [`noprop_ode.NonFiniteLossError`][] if training diverges; the last good state is then a checkpoint.
    """
    started, resume = time.perf_counter(), None if resume is None else Path(resume)
    splits = load_data(config)
    if splits.test is None:
        raise ConfigError(f"data.name: {config.data.name!r} has no test part, which the summary is about.")
    if config.training.batch_size > len(splits.train):
        raise ConfigError(
            f"training.batch_size: expected at most {len(splits.train)}, the number of training images; got "
            f"{config.training.batch_size}."
        )
    spec = describe(splits.train)
    # Compiled as one program: seconds faster than dozens of small ones for the initial weights.
    model = eqx.filter_jit(lambda: build_model(config, spec, train=splits.train))()
    # What is wrong with the settings must show before anything is written.
    how = protocols(config, model, spec)
    prediction = how["default"]
    build_optimiser(config, 1, model=model)
    build_learning_rate(config, 1)
    config.data.augmentation.build("augmentation")
    callbacks = _callbacks(config)

    with _open_folder(config, resume) as folder:
        if not (folder / CONFIG_FILE).exists():
            folder.claim([*_FILES, *_PLOTS])
            write_json(folder, "environment.json", {"device": device(), "versions": versions()})
        folder.write(CONFIG_FILE, dump_yaml(config).encode())
        print(f"{config.data.name}: {_counts(splits)}; writing to {folder.path}")
        metadata = {"config": config.to_plain(), "data": dataclasses.asdict(spec)}
        try:
            result = _fit(config, model, splits, prediction, folder, metadata, callbacks, resume is not None)
        except Interrupted:
            print(f"saved; go on with --resume {folder.path}", file=sys.stderr)
            raise
        model = result.model
        if config.training.patience is not None and result.best_model is not None:
            model = result.best_model
        save_arrays(folder / MODEL_FILE, model, metadata)
        results = evaluate_protocols(model, splits.test, key=evaluation_key(config), how=how)
        print_table(results)
        summary = _summary(config, results, result, time.perf_counter() - started)
        write_json(folder, SUMMARY_FILE, summary)
        draw_plots(folder.path, model, splits.test, config, prediction=prediction)
    print(f"written to {folder.path}")
    print(f"test_accuracy={summary['test_accuracy']:.4f}")
    return summary


def _fit(
    config: Config,
    model: AbstractModel,
    splits: data.Splits,
    prediction: Prediction,
    folder: RunFolder,
    metadata: dict[str, Any],
    callbacks: Iterable[Any],
    resume: bool,
) -> FitResult:
    training = config.training
    steps = training.epochs * (len(splits.train) // training.batch_size)
    return fit(
        model,
        splits,
        optimiser=build_optimiser(config, steps, model=model),
        learning_rate=build_learning_rate(config, steps),
        epochs=training.epochs,
        batch_size=training.batch_size,
        seed=training.seed,
        folder=folder,
        resume=resume,
        callbacks=tuple(callbacks),
        prediction=prediction,
        augment=config.data.augmentation.build("augmentation"),
        average_decay=training.average_decay,
        validate_every=training.validate_every,
        patience=training.patience,
        rollbacks=training.rollbacks,
        steps_per_call=training.steps_per_call,
        checkpoint_seconds=config.output.checkpoint_seconds,
        keep=config.output.keep,
        metadata=metadata,
    )


def _callbacks(config: Config) -> list[Any]:
    found: list[Any] = []
    if config.output.tensorboard:
        found.append(TensorBoard())
    if config.output.wandb:
        found.append(WeightsAndBiases(config=config.to_plain()))
    return found


def _summary(config: Config, results: dict[str, Any], result: FitResult, seconds: float) -> dict[str, Any]:
    headline, speed, progress = results["default"], result.images_per_second, result.progress
    return {
        "test_accuracy": headline["accuracy"],
        "test_nll": headline["nll"],
        "test_calibration_error": headline["calibration_error"],
        "best_validation_accuracy": progress.best_accuracy,
        "best_epoch": progress.best_epoch,
        "steps": progress.step,
        "wall_seconds": round(seconds, 2),
        "train_seconds": round(progress.seconds, 2),
        "train_images_per_second": None if speed is None else round(speed, 1),
        "samplers": results,
        "config": config.to_plain(),
        "device": device(),
        "versions": versions(),
    }


def _open_folder(config: Config, resume: Path | None) -> RunFolder:
    if resume is not None:
        return _reopen(config, resume)
    if config.output.dir is None:
        return RunFolder.numbered(Path("runs"), f"{config.name}-seed{config.training.seed}".replace("/", "-"))
    path = config.output.dir
    if (path / SUMMARY_FILE).exists() or (path / CONFIG_FILE).exists():
        finished = (path / SUMMARY_FILE).exists()
        way_on = "" if finished else f", go on with it by --resume {path}"
        raise RunError(
            f"{path} already holds {'a finished run' if finished else 'a run that is not finished'}; choose another "
            f"output.dir, move it away{way_on}."
        )
    return RunFolder(path)


def _reopen(config: Config, path: Path) -> RunFolder:
    """The folder of a run to go on with, if these are its settings."""
    if not path.is_dir():
        raise RunError(f"There is no run to resume at {path}.")
    folder = RunFolder(path)
    try:
        began = _began_with(path)
        if began is not None and (differing := differences(began, config)):
            raise ConfigError(
                f"The run at {path} began with other settings: {', '.join(differing)}. Undo the changes to its "
                "config.yaml, or begin another run."
            )
        if (path / SUMMARY_FILE).exists() and (
            began is None or config.training.epochs <= began["training"].get("epochs", 0)
        ):
            raise RunError(
                f"The run at {path} is finished; its figures are in {SUMMARY_FILE}. To train it for longer: "
                f"--resume {path} --epochs N, with more epochs than it had."
            )
    except BaseException:
        folder.close()
        raise
    return folder


def _began_with(path: Path) -> dict[str, Any] | None:
    """The settings in the newest checkpoint that has any."""
    for checkpoint in sorted(path.glob("checkpoints/step-*.safetensors"), reverse=True):
        try:
            found = read_header(checkpoint)["config"]
        except (ValueError, KeyError, OSError):
            continue
        if isinstance(found, dict) and all(isinstance(found.get(section), dict) for section in _SECTIONS):
            return found
    return None


_SECTIONS = ("data", "model", "optimiser", "training", "prediction")


def differences(began: dict[str, Any], config: Config) -> list[str]:
    """What differs between settings, apart from what a run may change: for how long, and where its data are."""
    now, free = config.to_plain(), {("training", "epochs"), ("data", "dir")}
    return [
        f"{section}.{name}"
        for section in _SECTIONS
        for name in now[section]
        if (section, name) not in free and began[section].get(name) != now[section][name]
    ]


def _counts(splits: data.Splits) -> str:
    parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    return ", ".join(f"{len(part)} {name}" for name, part in parts.items() if part is not None) + " images"
