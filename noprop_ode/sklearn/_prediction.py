"""Probabilities of rows, however many."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float32, Float64

from .._choices import Prediction
from .._model import AbstractModel
from .._prediction.one import predict_one
from .._prediction.predict import predict_log_proba, raise_failures, sampler_name
from .._types import Key


_FEWEST, _MOST = 64, 512  # rows in a call on the device


def log_probabilities(
    model: AbstractModel, images: Float32[np.ndarray, "n h w c"], prediction: Prediction | None, seed: int
) -> Float64[np.ndarray, "n classes"]:
    """Class log-probabilities, normalised in float64.

    **Arguments:**

    - `model`: the model.
    - `images`: standardised.
    - `prediction`: how to predict; the model's own way if `None`.
    - `seed`: of the randomness of predictions, where there is any; equal calls have equal results.

    **Returns:** `[n, classes]`, in nats.
    """
    n, key = len(images), jr.fold_in(jr.key(seed), 2)
    how = model.default_prediction if prediction is None else prediction
    # A call has one of a few sizes, so that there are few programs; a single row would not be rounded as it is among
    # others, either. The rows that are added are those at hand, and their predictions are dropped.
    size = min(_MOST, max(_FEWEST, 2 ** (n - 1).bit_length()))
    if how.start == "noise" or how.sampler.stochastic:
        # What is drawn is the same for all rows: the prediction of a row depends on no other, nor on its place.
        places = np.arange(-(-n // size) * size) % n
        found = [_by_one_key(model, images[part], key, how) for part in np.split(places, len(places) // size)]
    else:
        padded = images if n >= size else images[np.arange(size) % n]
        found = [predict_log_proba(model, padded, key=key, prediction=how, batch_size=size)]
    log_p = np.concatenate(found).astype(np.float64)[:n]
    return log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True)


def _by_one_key(
    model: AbstractModel, images: Float32[np.ndarray, "n h w c"], key: Key, how: Prediction
) -> Float32[np.ndarray, "n classes"]:
    log_ps, _, results = _run_by_one_key(model, jnp.asarray(images), key, how)
    raise_failures(results, sampler_name(how.sampler))
    return np.asarray(log_ps)


@eqx.filter_jit
def _run_by_one_key(model: AbstractModel, images: Any, key: Key, how: Prediction) -> Any:
    return eqx.filter_vmap(lambda x: predict_one(model, x, key=key, prediction=how))(images)
