"""A model as a `jax.export` artefact."""

import json
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ... import predict_log_proba, predict_one
from ..._optional import need
from ..._training.files import make_folder, write_file
from ..._types import AnyPath
from .._build import build_prediction
from .._data import load_data
from .._errors import ConfigError, RunError, did_you_mean
from .._evaluate import evaluation_key
from ._open import check_data, open_run, split_of
from ._text import printable


_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export_model(
    run: AnyPath,
    out: AnyPath,
    *,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    best: bool = False,
    trust_imports: bool = False,
    data_dir: AnyPath | None = None,
) -> tuple[Path, float]:
    """Writes the model of a run as a `jax.export` artefact, after comparing it with the model itself on test images.

    The artefact is a function from images `[n, height, width, channels]` for any n, of the dtype of the data (uint8,
    except for your own loaders), to class log-probabilities `[n, classes]`, as the configuration predicts; its
    randomness is that of the evaluation of the run. To read it, JAX and flatbuffers are enough. A JSON file next to it
    has the class names and the image shape.

    **Arguments:**

    - `run`: output folder of a run.
    - `out`: folder for the artefact.
    - `platforms`: the platforms that it is for: among `cpu`, `cuda`, `rocm` and `tpu`.
    - `best`: the model with the best validation accuracy.
    - `trust_imports`: whether to import the modules that the run names, which runs their code.
    - `data_dir`: folder of prepared data sets, if not that of the run.

    **Returns:** the path of the artefact, and the greatest difference to the live model in probability; NaN if it was
    not made for the current device, and so was not compared.

    **Raises:** `ConfigError` for an unknown platform, `RunError` if artefact and model differ, or a file cannot be
    written; as for [`noprop_ode.experiment.load_model`][] for a run that cannot be read.
    """
    if unknown := [p for p in platforms if p not in _PLATFORMS]:
        hint = "Use cuda or rocm." if unknown[0] == "gpu" else did_you_mean(unknown[0], _PLATFORMS)
        raise ConfigError(f"--platforms: {printable(unknown[0])!r} is no platform of JAX. {hint}")
    need("flatbuffers", "The export")
    import jax.export as exporting

    model, config, spec = open_run(run, best=best, trust_imports=trust_imports, data_dir=data_dir)
    prediction, key = build_prediction(config, model, spec), evaluation_key(config)
    test = check_data(split_of(load_data(config), "test"), spec).images[:100]

    def predict(images: jax.Array) -> jax.Array:
        # As `predict_log_proba` does: the key of an image depends on its position.
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(images.shape[0]))
        return jax.vmap(lambda x, key: predict_one(model, x, key=key, prediction=prediction)[0])(images, keys)

    (count,) = exporting.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((count, *spec.image_shape), test.dtype)
    content = exporting.export(jax.jit(predict), platforms=list(platforms))(images).serialize()
    difference = float("nan")
    if {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend()) in platforms:
        again = exporting.deserialize(bytearray(content)).call(jnp.asarray(test))
        live = predict_log_proba(model, test, key=key, batch_size=len(test), prediction=prediction)
        difference = float(np.max(np.abs(np.exp(again) - np.exp(live))))
        # Elsewhere than on CPU, products of two programs are rounded to fewer bits, and not alike.
        if not difference < (1e-3 if jax.default_backend() == "cpu" else 2e-2):
            raise RunError(f"The exported model would differ from the live one by {difference:g} in probability.")
    out = Path(out)
    make_folder(out)
    name = "model_best" if best else "model"  # next to that of the model that was evaluated
    path = out / f"{name}.jax_export"
    write_file(path, bytes(content))
    names = {"class_names": spec.class_names, "image_shape": spec.image_shape, "platforms": list(platforms)}
    write_file(out / f"{name}.json", (json.dumps(names, indent=1) + "\n").encode())
    return path, difference
