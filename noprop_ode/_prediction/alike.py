"""Class probabilities of many images, each predicted as if it were alone."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float, Shaped

from .._choices import Prediction
from .._model import AbstractModel
from .._types import Key
from .one import predict_one
from .predict import predict_log_proba, raise_failures, refuse_nan, sampler_name


_FEWEST, _MOST = 64, 512  # images per call on the device


def predict_alike(
    model: AbstractModel, images: Shaped[np.ndarray, "n h w c"], *, key: Key, prediction: Prediction
) -> Float[np.ndarray, "n classes"]:
    """Like `predict_log_proba` on each image alone, with the same noise for all: the prediction of an image depends
    neither on the others nor on its position.

    **Arguments:** as for [`noprop_ode.predict_log_proba`][], with a complete `prediction`.

    **Returns:** log-probabilities, `[n, classes]`, in nats.

    **Raises:** as [`noprop_ode.predict`][].
    """
    n = len(images)
    # Calls have one of a few sizes, so that there are few programs; also, a single image would be rounded differently
    # than among others. Images are repeated as padding, and the predictions of the padding are dropped.
    size = min(_MOST, max(_FEWEST, 2 ** (n - 1).bit_length()))
    if prediction.start == "noise" or prediction.sampler.stochastic:
        places = np.arange(-(-n // size) * size) % n
        key = jr.fold_in(key, 0)  # the key of an image that is alone
        found = [_by_one_key(model, images[part], key, prediction) for part in np.split(places, len(places) // size)]
    else:
        padded = images if n >= size else images[np.arange(size) % n]
        found = [predict_log_proba(model, padded, key=key, prediction=prediction, batch_size=size)]
    log_ps = np.concatenate(found)[:n]
    refuse_nan(log_ps)
    return log_ps


def _by_one_key(model: AbstractModel, images: np.ndarray, key: Key, how: Prediction) -> np.ndarray:
    log_ps, _, results = _run_by_one_key(model, jnp.asarray(images), key, how)
    raise_failures(results, sampler_name(how.sampler))
    return np.asarray(log_ps)


@eqx.filter_jit
def _run_by_one_key(model: AbstractModel, images: Any, key: Key, how: Prediction) -> Any:
    return eqx.filter_vmap(lambda x: predict_one(model, x, key=key, prediction=how))(images)
