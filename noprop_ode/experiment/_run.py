import dataclasses
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from tqdm import tqdm

from .. import AbstractModel, NonFiniteLossError, TrainState, data, evaluate, train
from .._types import Key
from ._build import DataSpec, build_model, build_optimiser
from ._checkpoint import load_arrays, read_header, save_arrays
from ._config import Config
from ._log import JsonLines, device, versions
from ._plots import plot_learning_curve, plot_probabilities, trajectory_probabilities
from ._protocols import protocols


MODEL_FILE = "model.noprop"


def run(config: Config) -> dict[str, Any]:
    """Trains a classifier, evaluates it on the test set, and writes a folder with everything about it.

    The folder holds `summary.json`, `metrics.jsonl`, the model, and two plots. The test set is used once, at the end.

    **Arguments:**

    - `config`: the settings.

    **Returns:** the summary.

    **Raises:** `noprop_ode.data.DatasetError` if the data cannot be had, `FileExistsError` if the output folder
    already holds a run, and [`noprop_ode.NonFiniteLossError`][] if training diverges; the last good
    weights are then saved.
    """
    started = time.perf_counter()
    how = protocols(config.evaluation_steps, config.protocols)  # a misspelt name must not cost a training run
    splits = data.load(config.data, data_dir=config.data_dir, validation=config.validation, seed=config.seed)
    assert splits.validation is not None  # the settings ask for one
    folder = _new_folder(config)
    spec = _describe(splits.train)
    print(f"{config.data}: {len(splits.train)} training, {len(splits.validation)} validation, {len(splits.test)} test")
    init_key, train_key, eval_key, plot_key = jr.split(jr.key(config.seed), 4)
    log = JsonLines(folder / "metrics.jsonl")
    try:
        # Compiled as one program: seconds faster than dozens of small ones for the initial weights.
        model = eqx.filter_jit(lambda key: build_model(config, spec, key=key))(init_key)
        model, speed = _train(config, model, splits.train, splits.validation, log, train_key, eval_key, folder, spec)
    finally:
        log.close()
    _save(folder, model, config, spec)

    results = evaluate_protocols(model, splits.test, key=eval_key, how=how)
    plot_learning_curve(folder / "learning_curve.png", log.records)
    _plot_trajectories(folder / "probabilities.png", model, splits.test, plot_key)
    summary = {
        "test_accuracy": results["default"]["accuracy"],
        "test_nll": results["default"]["nll"],
        "test_calibration_error": results["default"]["calibration_error"],
        "epochs": config.epochs,
        "wall_seconds": round(time.perf_counter() - started, 2),
        "train_images_per_second": speed,
        "samplers": results,
        "config": config.to_json(),
        "device": device(),
        "versions": versions(),
    }
    _write_json(folder / "summary.json", summary)
    print(f"written to {folder}")
    print(f"test_accuracy={summary['test_accuracy']:.4f}")
    return summary


def load_model(folder: Path) -> tuple[AbstractModel, Config, DataSpec]:
    """A model from the folder of a run.

    **Arguments:**

    - `folder`: the output folder.

    **Returns:** the model, the settings of the run, and the description of its data.

    **Raises:** `FileNotFoundError`, or [`noprop_ode.experiment.CheckpointError`][] if the file is damaged.
    """
    metadata = read_header(folder / MODEL_FILE)
    config, spec = Config.from_json(metadata["config"]), DataSpec.from_json(metadata["data"])
    skeleton = eqx.filter_eval_shape(lambda key: build_model(config, spec, key=key), jr.key(0))
    return load_arrays(folder / MODEL_FILE, skeleton), config, spec


def evaluation_key(config: Config) -> Key:
    """The randomness of the final evaluation of a run, so that it can be repeated to the last digit."""
    return jr.split(jr.key(config.seed), 4)[2]


def evaluate_protocols(
    model: AbstractModel, test: data.Dataset, *, key: Key, how: dict[str, dict[str, Any]]
) -> dict[str, dict[str, float | None]]:
    """Evaluates a model in several ways, and prints the table.

    **Arguments:**

    - `model`: the model.
    - `test`: images and labels.
    - `key`: randomness of draws and samplers.
    - `how`: named arguments of [`noprop_ode.evaluate`][], as [`noprop_ode.experiment.protocols`][] gives them.

    **Returns:** accuracy, nll, calibration_error, nfe (evaluations of the vector field an image) and seconds by name.
    """
    results = {}
    print(f"{'protocol':20s} {'accuracy':>8s} {'nll':>8s} {'ece':>6s} {'nfe':>7s} {'seconds':>8s}")
    for name, arguments in how.items():
        start = time.perf_counter()
        found = evaluate(model, test.images, test.labels, key=key, **arguments)
        seconds = time.perf_counter() - start
        results[name] = {
            "accuracy": found.accuracy,
            "nll": found.nll,
            "calibration_error": found.calibration_error,
            "nfe": None if math.isnan(found.num_evaluations) else found.num_evaluations,
            "seconds": round(seconds, 3),
        }
        print(
            f"{name:20s} {found.accuracy:8.4f} {found.nll:8.4f} {found.calibration_error:6.4f} "
            f"{found.num_evaluations:7.1f} {seconds:8.2f}"
        )
    return results


def _train(
    config: Config,
    model: AbstractModel,
    train_set: data.Dataset,
    validation: data.Dataset,
    log: JsonLines,
    train_key: Key,
    eval_key: Key,
    folder: Path,
    spec: DataSpec,
) -> tuple[AbstractModel, float]:
    """Trains for all epochs; returns the model and the images trained on a second, without compilation or
    evaluation."""
    per_epoch = len(train_set) // config.batch_size
    optimiser = build_optimiser(config, per_epoch * config.epochs)
    state = TrainState.create(model, optimiser, key=train_key, average_decay=config.average_decay)
    seconds, timed_steps = 0.0, 0
    with tqdm(total=per_epoch * config.epochs, unit="step", disable=None, smoothing=0.1, file=sys.stderr) as bar:
        for epoch in range(config.epochs):
            batches = data.batches(train_set, config.batch_size, seed=config.seed, epoch=epoch)
            clock = time.perf_counter()
            try:
                for state, metrics in train(state, batches):
                    step, values = int(metrics.step), _values(metrics)
                    now = time.perf_counter()
                    if step > 1:  # the first includes compilation
                        seconds, timed_steps = seconds + now - clock, timed_steps + 1
                    clock = now
                    log.write("train", step=step, epoch=epoch, **values)
                    bar.update()
                    if timed_steps:
                        rate = timed_steps * config.batch_size / seconds
                        bar.set_postfix_str(f"loss {values['loss']:.4f}, {rate:.0f} images/s", refresh=False)
            except NonFiniteLossError as error:
                _save(folder, error.state.evaluation_model, config, spec)
                raise
            found = evaluate(state.evaluation_model, validation.images, validation.labels, key=eval_key)
            log.write("validation", step=int(state.step), epoch=epoch + 1, accuracy=found.accuracy, nll=found.nll)
            bar.write(f"epoch {epoch + 1}: validation accuracy {found.accuracy:.4f}, nll {found.nll:.4f}")
    return state.evaluation_model, round(timed_steps * config.batch_size / max(seconds, 1e-9), 1)


def _values(metrics: Any) -> dict[str, float]:
    return {f.name: float(getattr(metrics, f.name)) for f in dataclasses.fields(metrics) if f.name != "step"}


def _describe(train_set: data.Dataset) -> DataSpec:
    # Pixel statistics of the training part alone; float64 sums over bytes by a histogram, which is exact and fast.
    counts = np.bincount(train_set.images.reshape(-1), minlength=256) / train_set.images.size
    values = np.arange(256) / 255
    mean = float(counts @ values)
    std = float(np.sqrt(counts @ (values - mean) ** 2))
    return DataSpec(train_set.image_shape, train_set.class_names, mean, std)


def _new_folder(config: Config) -> Path:
    if config.out is not None:
        if (config.out / "summary.json").exists():
            raise FileExistsError(f"{config.out} already holds a finished run; choose another --out, or move it away.")
        config.out.mkdir(parents=True, exist_ok=True)
        return config.out
    for number in range(10_000):
        folder = Path("runs") / f"{config.data}-ct-seed{config.seed}-{number:02d}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError("runs/ is full; give --out.")


def _save(folder: Path, model: AbstractModel, config: Config, spec: DataSpec) -> None:
    save_arrays(folder / MODEL_FILE, model, {"config": config.to_json(), "data": dataclasses.asdict(spec)})


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _plot_trajectories(path: Path, model: AbstractModel, test: data.Dataset, key: Key) -> None:
    how = protocols()["noise heun-20"]
    ts = jnp.linspace(0.0, 1.0, 101, dtype=jnp.float32)
    images, labels = test.images[:6], test.labels[:6].tolist()
    probabilities = trajectory_probabilities(model, images, how["sampler"], ts, key=key)
    plot_probabilities(
        path, images, labels, test.class_names, np.asarray(ts), np.asarray(jax.device_get(probabilities))
    )
