"""A run from its settings to its folder: build the objects, fit, evaluate, write the summary."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.random as jr

from .. import (
    AbstractModel,
    FitResult,
    Interrupted,
    Prediction,
    RunFolder,
    TensorBoard,
    WeightsAndBiases,
    data,
    fit,
    gathered,
    save_arrays,
    start_processes,
)
from .._training.processes import is_first, on_first
from .._training.store import step_checkpoints
from .._types import AnyPath
from ._build import build_model, build_parallel, protocols, warn_of_paper_steps
from ._build_optimiser import build_learning_rate, build_optimiser
from ._config import Config
from ._context import DataSpec
from ._data import describe, load_data
from ._environment import device, versions, write_json
from ._errors import ConfigError, within
from ._evaluate import evaluate_protocols, evaluation_key, print_table
from ._lasting import Lasting
from ._run_folder import forget_failed_start, keep_settings, open_folder
from ._saved import MODEL_FILE, SUMMARY_FILE, warm_start
from .report._draw import draw_plots


def run(config: Config, *, resume: AnyPath | None = None) -> dict[str, Any]:
    """Trains a classifier, evaluates it on the test set, and leaves a folder with everything about it.

    The folder holds `config.yaml`, `metrics.jsonl`, `checkpoints/`, the model, `summary.json` and plots. The test set
    is used once, at the end, for the model of the last epoch; with `training.patience`, for the best on the validation
    split.

    **Arguments:**

    - `config`: the settings.
    - `resume`: the folder of a run with these settings, to resume. More epochs than it began with extend it.

    **Returns:** the summary.

    **Raises:** `noprop_ode.data.DatasetError` if the data cannot be loaded, `ConfigError` for settings that do not fit
    together, [`noprop_ode.RunError`][] if the folder cannot be used, [`noprop_ode.Interrupted`][] after a signal, and
    [`noprop_ode.NonFiniteLossError`][] if training diverges; the last good state is then a checkpoint.
    """
    if config.parallel.distributed:
        start_processes()
    started, resume = time.perf_counter(), None if resume is None else Path(resume)
    splits = load_data(config)
    if splits.test is None:
        raise ConfigError(f"data.name: {config.data.name.type!r} has no test part, which the summary is about.")
    if config.training.batch_size > len(splits.train):
        raise ConfigError(
            f"training.batch_size: expected at most {len(splits.train)}, the number of training images; got "
            f"{config.training.batch_size}."
        )
    spec = describe(splits.train)
    # Compiled as one program: seconds faster than dozens of small ones for the initial weights.
    model = eqx.filter_jit(lambda: build_model(config, spec, train=splits.train))()
    begins = resume is None or not step_checkpoints(resume)
    if config.training.warm_start is not None and begins:
        model = warm_start(model, config.training.warm_start)
    # Errors in the settings must show before anything is written.
    how = protocols(config, model, spec)
    if is_first():
        warn_of_paper_steps(config, model)
    options = _options(config, model, splits)
    logs = [Lasting(sink) for sink in _callbacks(config)]

    with contextlib.ExitStack() as stack:
        folder = on_first(lambda: stack.enter_context(open_folder(config, resume)))
        for log in logs:
            stack.callback(log.close)
        if folder is not None:
            print(f"{config.data.name.type}: {_counts(splits)}; writing to {folder.path}")
        metadata = {"config": config.to_plain(), "data": dataclasses.asdict(spec)}
        before = time.perf_counter() - started
        try:
            result = fit(
                model,
                splits,
                folder=folder,
                resume=resume is not None,
                callbacks=(keep_settings(config), *logs),
                prediction=how["default"],
                metadata=metadata,
                **options,
            )
        except Interrupted:
            if folder is not None:
                print(f"saved; continue with --resume {folder.path}", file=sys.stderr)
            raise
        except Exception:
            if folder is not None and resume is None:
                forget_failed_start(folder)
            raise
        began = time.perf_counter() - result.progress.wall_seconds - before  # as if it had never been stopped
        model = result.model
        if config.training.patience is not None and result.best_model is not None:
            model = result.best_model
        summary = finish(folder, config, model, spec, splits.test, how, lambda: _training(result, began))
        for name, figures in summary["samplers"].items():
            for log in logs:
                log.record(f"test/{name}", figures)
    on_first(lambda: None)  # a process that ends takes the others along: all wait until the logs are closed
    return summary


def finish(
    folder: RunFolder | None,
    config: Config,
    model: AbstractModel,
    spec: DataSpec,
    test: data.Dataset,
    how: dict[str, Prediction],
    training: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """Saves a trained model, evaluates it, and writes the summary and the plots.

    **Arguments:**

    - `folder`: of the run; of several processes, which evaluate together, only the first has one.
    - `config`, `model`, `spec`: the settings, the model, and the description of its data.
    - `test`: the test set.
    - `how`: predictions by name, from [`noprop_ode.experiment.protocols`][].
    - `training`: what the summary says about training; called after the evaluation, which its time includes.

    **Returns:** the summary.
    """
    whole, metadata = gathered(model), {"config": config.to_plain(), "data": dataclasses.asdict(spec)}
    on_first(lambda: None if folder is None else save_arrays(folder / MODEL_FILE, whole, metadata))
    results = evaluate_protocols(model, test, key=evaluation_key(config), how=how)
    headline = results["default"]
    summary = {
        "test_accuracy": headline["accuracy"],
        "test_nll": headline["nll"],
        "test_calibration_error": headline["calibration_error"],
        **training(),
        "samplers": results,
        "config": config.to_plain(),
        "device": device(),
        "versions": versions(),
    }

    def leave() -> None:
        assert folder is not None
        write_json(folder, SUMMARY_FILE, summary)  # before anything is printed: nobody may be there to read it
        print_table(results)
        draw_plots(folder.path, whole, test, config, prediction=how["default"])
        print(f"written to {folder.path}")
        print(f"test_accuracy={summary['test_accuracy']:.4f}")

    on_first(lambda: None if folder is None else leave())
    return summary


def _options(config: Config, model: AbstractModel, splits: data.Splits) -> dict[str, Any]:
    """The arguments of `fit` from the settings.

    **Raises:** `ConfigError` for settings that do not fit the model or the data.
    """
    training = config.training
    steps = training.epochs * (len(splits.train) // training.batch_size)
    optimiser = build_optimiser(config, steps, model=model)
    learning_rate = build_learning_rate(config, steps, model=model)
    parallel = build_parallel(config, model)
    with within("data.augmentation"):
        augment = config.data.augmentation.build("augmentation")
        _trace_augmentation(augment, config, splits)
    return {
        "optimiser": optimiser,
        "learning_rate": learning_rate,
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "seed": training.seed,
        "augment": augment,
        "average_decay": training.average_decay,
        "validate_every": training.validate_every,
        "patience": training.patience,
        "rollbacks": training.rollbacks,
        "steps_per_call": training.steps_per_call,
        "checkpoint_seconds": config.output.checkpoint_seconds,
        "keep": config.output.keep,
        "parallel": parallel,
    }


def _callbacks(config: Config) -> list[Any]:
    found: list[Any] = []
    if config.output.tensorboard:
        found.append(TensorBoard())
    if config.output.wandb:
        found.append(WeightsAndBiases(config=config.to_plain()))
    return found


def _trace_augmentation(augment: Any, config: Config, splits: data.Splits) -> None:
    """Checks that the augmentation suits the images."""
    if augment is not None:
        batch = jax.ShapeDtypeStruct((config.training.batch_size, *splits.train.image_shape), splits.train.images.dtype)
        jax.eval_shape(lambda xs: augment(xs, key=jr.key(0)), batch)


def _training(result: FitResult, began: float) -> dict[str, Any]:
    speed, progress = result.images_per_second, result.progress
    return {
        "best_validation_accuracy": progress.best_accuracy,
        "best_epoch": progress.best_epoch,
        "steps": progress.step,
        "wall_seconds": round(time.perf_counter() - began, 2),
        # The first calls of an epoch are not timed, because they may compile.
        "train_seconds": round(progress.seconds * progress.step / max(progress.timed_steps, 1), 2),
        "train_images_per_second": None if speed is None else round(speed, 1),
    }


def _counts(splits: data.Splits) -> str:
    parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    return ", ".join(f"{len(part)} {name}" for name, part in parts.items() if part is not None) + " images"
