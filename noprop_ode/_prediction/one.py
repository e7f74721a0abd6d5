"""Class probabilities of one image, and of a batch in programs that several kinds of prediction share."""

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import diffrax
import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

from .._choices import Prediction, Start
from .._model import AbstractModel
from .._types import Features, Image, Key, Latent, LogProbs, Scalar
from .encode_batch import encode_batch
from .encoded import EncodedImages
from .prediction import checked
from .views import viewed, viewed_one, views_asked


# States at t = 0 `[draws, dim]`, and a key for each.
_Starts: TypeAlias = tuple[Float[Array, "*n dim"], Array]


def predict_one(
    model: AbstractModel, x: Image, *, key: Key, prediction: Prediction | None = None
) -> tuple[LogProbs, Scalar, diffrax.RESULTS]:
    """Predicts one image; the building block of `predict_log_proba`, for use inside your own `jit` and `vmap`.

    **Arguments:**

    - `model`: the model.
    - `x`: an image, `[height, width, channels]`.
    - `key`: randomness for the draws and the sampler.
    - `prediction`: how to predict; the `default_prediction` of the model if not given.

    **Returns:** log-probabilities `[classes]`, the number of vector field evaluations over all draws, and the solver's
    result code for each trajectory `[trajectories]`.

    **Raises:** `ValueError` for draws that would all be the same, or fewer than one, and for a negative shift.
    """
    prediction = checked(model.default_prediction if prediction is None else prediction)
    views = [viewed_one(x, view) for view in views_asked(prediction)]
    features = [model.field.encode(view) for view in views]  # once, whatever the number of steps and of draws
    starts = _starts(model, prediction.start, prediction.draws, key)
    return _predict_from(model, features, starts, prediction)


def _starts(model: AbstractModel, start: Start, draws: int, key: Key) -> _Starts:
    """Where the trajectories of an image start, and the randomness along them."""

    def one(key: Key) -> _Starts:
        start_key, path_key = jr.split(key)
        return model.initial_state(start, key=start_key), path_key

    return jax.vmap(one)(jr.split(key, draws))


def _predict_from(
    model: AbstractModel, features: Sequence[Features], starts: _Starts, prediction: Prediction
) -> tuple[LogProbs, Scalar, diffrax.RESULTS]:
    """Like `predict_one`, from the features of the views of an image."""
    sampler, decoder = prediction.sampler, prediction.decoder

    def draw(features: Features, z0: Latent, key: Key):
        end = sampler.sample(model, z0, features, key=key, t1=decoder.t1(sampler))
        return decoder(model, end, features), end.num_evaluations + decoder.num_evaluations, end.result

    found = [jax.vmap(functools.partial(draw, view))(*starts) for view in features]
    log_ps, evaluations, results = jax.tree.map(lambda *views: jnp.concatenate(views), *found)
    return jnn.logsumexp(log_ps, axis=0) - np.log(len(log_ps)).astype(np.float32), jnp.sum(evaluations), results


def predict_batch(
    model: AbstractModel,
    xs: Shaped[Array, "n *image"] | EncodedImages,
    first: Int[Array, ""],
    key: Key,
    prediction: Prediction,
) -> tuple[Float[Array, "n classes"], Float[Array, " n"], PyTree[Int[Array, "n draws"]]]:
    # The image branch and the starts are separate programs, shared by many kinds of prediction.
    features = _views(model, xs, prediction)
    positions = Positions(first, len(xs), key)
    # From the mean there is nothing to draw, and keys that nothing uses drop out of the program below.
    starts = None if prediction.start == "mean" else batch_starts(model, prediction.start, prediction.draws, positions)
    return predict_batch_from(model, features, starts, positions, prediction)


def _views(model: AbstractModel, xs: Any, prediction: Prediction) -> list[Features]:
    """The features of each requested view of a batch."""
    asked = views_asked(prediction)
    if not isinstance(xs, EncodedImages):
        return [encode_batch(model, viewed(xs, view), prediction) for view in asked]
    if not set(asked) <= set(xs.kinds):
        raise ValueError(
            "Expected images that were encoded with their mirror images or shifts; got others. Encode them by "
            f"noprop_ode.encode(model, images, mirror={prediction.mirror}, shift={prediction.shift})."
        )
    return [xs.views[xs.kinds.index(view)] for view in asked]


class Positions(eqx.Module):
    """Which images of a data set a batch holds, `n` from the `first` on, and the `key` of the whole set."""

    first: Int[Array, ""]
    n: int = eqx.field(static=True)
    key: Key

    @property
    def keys(self) -> Array:
        """A key for each image, which depends only on its position, so that results do not depend on the batch size."""
        return jax.vmap(lambda i: jr.fold_in(self.key, i))(self.first + jnp.arange(self.n))


@eqx.filter_jit
def batch_starts(model: AbstractModel, start: Start, draws: int, positions: Positions) -> _Starts:
    return jax.vmap(functools.partial(_starts, model, start, draws))(positions.keys)


@eqx.filter_jit
def predict_batch_from(
    model: AbstractModel,
    features: Sequence[Features],
    starts: _Starts | None,
    positions: Positions,
    prediction: Prediction,
) -> tuple[Float[Array, "n classes"], Float[Array, " n"], PyTree[Int[Array, "n draws"]]]:
    if starts is None:
        starts = jax.vmap(functools.partial(_starts, model, prediction.start, prediction.draws))(positions.keys)
    return eqx.filter_vmap(lambda features, starts: _predict_from(model, features, starts, prediction))(
        features, starts
    )
