import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.random as jr

from .. import AbstractModel, Prediction, data
from .._types import Key
from ._build import build_model, build_optimiser, build_prediction
from ._checkpoint import load_arrays, save_arrays
from ._config import Config
from ._data import describe, load_data
from ._errors import ConfigError, RunError
from ._evaluate import evaluate_protocols, print_table
from ._folder import RunFolder
from ._interrupt import Interrupted
from ._log import JsonLines, TensorBoard, WeightsAndBiases, device, versions
from ._loop import Trainer
from ._protocols import protocols
from ._saved import MODEL_FILE
from ._store import CheckpointStore
from ._yaml import dump_yaml, import_components
from .report._draw import draw_plots


def run(config: Config, *, resume: Path | None = None) -> dict[str, Any]:
    """Trains a classifier, evaluates it on the test set, and leaves a folder with everything about it.

    The folder holds `config.yaml`, `metrics.jsonl`, `checkpoints/`, the model, `summary.json` and plots. The test set
    is used once, at the end, by the model of the last epoch; with `training.patience`, by the best on the validation
    split.

    **Arguments:**

    - `config`: the settings.
    - `resume`: the folder of a run with these settings, to go on with.

    **Returns:** the summary.

    **Raises:** `noprop_ode.data.DatasetError` if the data cannot be had, `ConfigError` for settings that do not
    go together, `RunError` if the folder cannot be used, `Interrupted` after a signal, and
    [`noprop_ode.NonFiniteLossError`][] if training diverges; the last good state is then a checkpoint.
    """
    started = time.perf_counter()
    import_components(config.imports)
    splits = load_data(config)
    if len(splits.train) < config.training.batch_size:
        raise ConfigError(
            f"training.batch_size: expected at most {len(splits.train)}, the number of training images; got "
            f"{config.training.batch_size}."
        )
    spec = describe(splits.train)
    model_key, train_key, test_key, _ = _keys(config)
    # Compiled as one program: seconds faster than dozens of small ones for the initial weights.
    model = eqx.filter_jit(lambda key: build_model(config, spec, key=key, train=splits.train))(model_key)
    # What is wrong with the settings must show before anything is trained.
    build_optimiser(config, 1)
    config.data.augmentation.build("augmentation")
    prediction = build_prediction(config, model, spec)
    how = protocols(config, prediction)

    folder = _open_folder(config, resume)
    try:
        folder.remove_leftovers()
        if resume is None or not folder.holds_a_run:
            folder.write_json("environment.json", {"device": device(), "versions": versions()})
            folder.write_text("config.yaml", dump_yaml(config))
        assert splits.validation is not None
        print(
            f"{config.data.name}: {len(splits.train)} training, {len(splits.validation)} validation, "
            f"{len(splits.test)} test images; writing to {folder.path}"
        )
        metadata = {"config": config.to_plain(), "data": dataclasses.asdict(spec)}
        model, trainer = _train(config, model, splits, prediction, train_key, folder, metadata, resume is not None)
        save_arrays(folder / MODEL_FILE, model, metadata)

        results = evaluate_protocols(model, splits.test, key=test_key, how=how)
        print_table(results)
        headline = results["default"]
        speed = trainer.images_per_second
        summary = {
            "test_accuracy": headline["accuracy"],
            "test_nll": headline["nll"],
            "test_calibration_error": headline["calibration_error"],
            "best_validation_accuracy": trainer.progress.best_accuracy,
            "best_epoch": trainer.progress.best_epoch,
            "steps": trainer.progress.step,
            "wall_seconds": round(time.perf_counter() - started, 2),
            "train_seconds": round(trainer.progress.seconds, 2),
            "train_images_per_second": None if speed is None else round(speed, 1),
            "samplers": results,
            "config": config.to_plain(),
            "device": device(),
            "versions": versions(),
        }
        folder.write_json("summary.json", summary)
        draw_plots(folder.path, model, splits.test, config)
    except Interrupted:
        print(f"saved; go on with --resume {folder.path}", file=sys.stderr)
        raise
    finally:
        folder.close()
    print(f"written to {folder.path}")
    print(f"test_accuracy={summary['test_accuracy']:.4f}")
    return summary


def _train(
    config: Config,
    model: AbstractModel,
    splits: data.Splits,
    prediction: Prediction,
    key: Key,
    folder: RunFolder,
    metadata: dict[str, Any],
    resume: bool,
) -> tuple[AbstractModel, Trainer]:
    store = CheckpointStore(folder.path, keep=config.output.keep)
    sinks: list[Any] = []

    def log(kind: str, values: dict[str, Any]) -> None:
        for sink in sinks:
            sink.write(kind, values)

    trainer = Trainer(config, model, splits, prediction, key=key, store=store, log=log, metadata=metadata)
    if resume and trainer.resume():
        print(f"going on from step {trainer.progress.step} of {trainer.num_steps}")
    sinks.append(JsonLines(folder / "metrics.jsonl", keep=trainer.progress.records))
    try:
        if config.output.tensorboard:
            sinks.append(TensorBoard(folder.path))
        if config.output.wandb:
            sinks.append(WeightsAndBiases(folder.path, config.to_plain()))
        model = trainer.run()
    finally:
        for sink in sinks:
            sink.close()
    if config.training.patience is not None:
        model = load_arrays(store.folder / "best.noprop", model)
    return model, trainer


def _open_folder(config: Config, resume: Path | None) -> RunFolder:
    if resume is not None:
        if not resume.is_dir():
            raise RunError(f"There is no run to resume at {resume}.")
        folder = RunFolder(resume)
        if folder.is_finished:
            folder.close()
            raise RunError(f"The run at {resume} is finished; its figures are in summary.json.")
        return folder
    if config.output.dir is None:
        stem = f"{config.data.name}-{config.model.variant.type}-seed{config.training.seed}"
        return RunFolder.new(stem.replace("/", "-"))
    folder = RunFolder(config.output.dir)
    if folder.is_finished or folder.holds_a_run:
        finished = "a finished run" if folder.is_finished else "a run that is not finished"
        way_on = "" if folder.is_finished else f", go on with it by --resume {config.output.dir}"
        folder.close()
        raise RunError(
            f"{config.output.dir} already holds {finished}; choose another output.dir, move it away{way_on}."
        )
    return folder


def _keys(config: Config) -> tuple[Key, Key, Key, Key]:
    model_key, train_key, test_key, plot_key = jr.split(jr.key(config.training.seed), 4)
    return model_key, train_key, test_key, plot_key


def evaluation_key(config: Config) -> Key:
    """The randomness of the final evaluation of a run, so that it can be repeated to the last digit."""
    return _keys(config)[2]
