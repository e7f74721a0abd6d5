"""Class probabilities of any number of rows."""

import jax.random as jr
import numpy as np
from jaxtyping import Float32, Float64

from .._choices import Prediction
from .._model import AbstractModel
from .._prediction.alike import predict_alike
from .._prediction.prediction import complete


def log_probabilities(
    model: AbstractModel, images: Float32[np.ndarray, "n h w c"], prediction: Prediction | None, seed: int
) -> Float64[np.ndarray, "n classes"]:
    """Class log-probabilities, normalised in float64.

    **Arguments:**

    - `model`: the model.
    - `images`: standardised.
    - `prediction`: how to predict; the model's default if `None`.
    - `seed`: seed for the randomness of predictions, if any; equal calls have equal results.

    **Returns:** `[n, classes]`, in nats.
    """
    key = jr.fold_in(jr.key(seed), 2)
    log_p = predict_alike(model, images, key=key, prediction=complete(model, prediction)).astype(np.float64)
    return log_p - np.logaddexp.reduce(log_p, axis=1, keepdims=True)
