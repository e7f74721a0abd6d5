"""The weights of an ensemble of estimates, from held-out images."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
import jax.scipy.optimize as jso
import numpy as np
from jaxtyping import Array, Float, Int

from .._check import check_labels
from .._model import AbstractModel
from .encode import encode
from .encoded import EncodedImages
from .ensemble import EnsembleDecoder
from .predict import predict_log_proba, refuse_nan


def fit_ensemble(
    model: AbstractModel, xs: Any, ys: Any, times: Sequence[float], *, batch_size: int = 500
) -> EnsembleDecoder:
    r"""Weights the estimates of [`noprop_ode.EnsembleDecoder`][] by how well they classify held-out images.

    The weights are the point of the simplex that minimises the mean negative log-likelihood of the combined estimate, a
    convex problem with as many unknowns as times:

    $$\min_{w \ge 0,\; \sum_k w_k = 1} -\frac{1}{n} \sum_i \log p_w(y_i | x_i).$$

    The weights sum to one, so a time whose network ignores the image may keep some: its uniform estimate tempers others
    that are overconfident. Use images that the model was not trained on, because training images favour the network
    that remembers them best, and none on which you report a result.

    !!! example

        ```python
        times = [k / 10 for k in range(10)]  # each of ten blocks, once
        ensemble = noprop_ode.fit_ensemble(model, splits.validation.images, splits.validation.labels, times)
        how = model.default_prediction._replace(decoder=ensemble)
        ```

    **Arguments:**

    - `model`: the model.
    - `xs`: images, `[n, height, width, channels]`, as for [`noprop_ode.predict_log_proba`][]. They are encoded once.
    - `ys`: their classes, `[n]`.
    - `times`: when to evaluate the denoiser, in [0, 1].
    - `batch_size`: images per call on each device.

    **Returns:** the decoder with these times and weights.

    **Raises:** `ValueError` or `TypeError` for invalid images, labels or times, and `TypeError` for a model without a
    Gaussian path.
    """
    EnsembleDecoder(times)  # checks the times
    check_labels(ys, model.embedding.num_classes, len(xs))
    how = model.default_prediction._replace(start="mean", draws=1)
    views = {"mirror": how.mirror, "shift": how.shift}
    images = xs if isinstance(xs, EncodedImages) else encode(model, xs, **views, batch_size=batch_size)
    found = [
        # The start is the mean and no trajectory is run, so nothing is drawn and the key does not matter.
        predict_log_proba(
            model, images, key=jr.key(0), prediction=how, decoder=EnsembleDecoder([t]), batch_size=batch_size
        )
        for t in times
    ]
    for log_ps in found:
        refuse_nan(log_ps)
    weights = _fitted(jnp.stack(found), jnp.asarray(np.asarray(ys).astype(np.int32)))
    return EnsembleDecoder(times, np.asarray(weights, np.float64).tolist())


@jax.jit
def _fitted(found: Float[Array, "times n classes"], ys: Int[Array, " n"]) -> Float[Array, " times"]:
    def nll(logits: Float[Array, " times"]) -> Float[Array, ""]:
        log_ps = jnn.log_softmax(jnp.einsum("t,tnc->nc", jnn.softmax(logits), found, precision="highest"))
        return -jnp.mean(jnp.take_along_axis(log_ps, ys[:, None], axis=1))

    return jnn.softmax(jso.minimize(nll, jnp.zeros(len(found)), method="BFGS").x)
