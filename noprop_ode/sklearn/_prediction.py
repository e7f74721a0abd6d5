"""Probabilities of rows, however many."""

import jax.random as jr
import numpy as np
from jaxtyping import Float32, Float64

from .._choices import Prediction
from .._model import AbstractModel
from .._prediction.predict import predict_log_proba


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
    n = len(images)
    # A call has one of a few sizes, so that there are few programs; a single row would not be rounded as it is among
    # others, either. The rows that are added are those at hand, and their predictions are dropped.
    size = min(_MOST, max(_FEWEST, 2 ** (n - 1).bit_length()))
    padded = images if n >= size else images[np.arange(size) % n]
    key = jr.fold_in(jr.key(seed), 2)
    found = predict_log_proba(model, padded, key=key, prediction=prediction, batch_size=size)
    log_p = np.asarray(found, np.float64)[:n]
    return log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True)
