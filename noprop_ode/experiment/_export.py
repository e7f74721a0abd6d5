import json
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from .. import predict_log_proba, predict_one
from ._build import build_prediction
from ._checkpoint import write_atomically
from ._data import load_data
from ._errors import RunError
from ._run import evaluation_key
from ._saved import load_model


def export_model(
    run: Path, out: Path, *, platforms: Sequence[str] = ("cpu", "cuda", "tpu"), best: bool = False
) -> tuple[Path, float]:
    """Writes the model of a run as a `jax.export` artefact, and compares it with the model itself on test images.

    The artefact is a function from images, uint8 `[n, height, width, channels]` for any n, to class
    log-probabilities `[n, classes]`, as the configuration predicts; its randomness is that of the evaluation of the
    run. Beside it, a JSON file has the class names and the image shape.

    **Arguments:**

    - `run`: output folder of a run.
    - `out`: folder for the artefact.
    - `platforms`: where it shall run.
    - `best`: the model with the best validation accuracy.

    **Returns:** the path of the artefact, and the greatest difference to the live model in probability.

    **Raises:** `RunError` if the two differ, or the file cannot be written; as
    [`noprop_ode.experiment.load_model`][] for a run that cannot be read.
    """
    model, config, spec = load_model(run, best=best)
    prediction, key = build_prediction(config, model, spec), evaluation_key(config)

    def predict(images: jax.Array) -> jax.Array:
        # As `predict_log_proba` does: the key of an image depends on its position.
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(images.shape[0]))

        def one(x: jax.Array, key: jax.Array) -> jax.Array:
            return predict_one(model, x, key=key, prediction=prediction)[0]

        return jax.vmap(one)(images, keys)

    (count,) = jax.export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((count, *spec.image_shape), jnp.uint8)
    exported = jax.export.export(jax.jit(predict), platforms=list(platforms))
    data = exported(images).serialize()

    path = out / "model.jax_export"
    write_atomically(path, lambda file: file.write(data))
    names = {"class_names": spec.class_names, "image_shape": spec.image_shape, "platforms": list(platforms)}
    write_atomically(out / "model.json", lambda file: file.write((json.dumps(names, indent=1) + "\n").encode()))

    test = load_data(config).test.images[:100]
    again = jax.export.deserialize(bytearray(path.read_bytes())).call(jnp.asarray(test))
    live = predict_log_proba(model, test, key=key, prediction=prediction, batch_size=len(test))
    difference = float(np.max(np.abs(np.exp(again) - np.exp(live))))
    if not difference < 1e-3:
        raise RunError(f"The exported model differs from the live one by {difference:g} in probability; do not use it.")
    return path, difference
