"""Whole trajectories, for inspection."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Shaped

from .._check import check_alive, check_images, check_on_host
from .._choices import AbstractSampler, Start
from .._model import AbstractModel
from .._sizes import told_here
from .._types import Features, Key
from .encode_batch import encode_batch
from .one import Positions


class Trajectories(eqx.Module):
    """Trajectories of several images: the times `ts`, the states `zs`, and the network's class log-probabilities
    `log_posteriors` along them, in nats."""

    ts: Float[Array, " times"]
    zs: Float[Array, "n times dim"]
    log_posteriors: Float[Array, "n times classes"]


def trajectories(
    model: AbstractModel,
    xs: Any,
    ts: Float[Any, " times"],
    *,
    key: Key,
    sampler: AbstractSampler,
    start: Start = "noise",
) -> Trajectories:
    """Whole trajectories from noise to label, one per image: that of the first draw of a prediction with the same key,
    start and sampler.

    **Arguments:**

    - `model`: the model.
    - `xs`: images, `[n, height, width, channels]`.
    - `ts`: strictly increasing times in [0, 1], `[times]`; between the steps of the sampler, states are interpolated.
    - `key`: randomness for the starts and a stochastic sampler.
    - `sampler`: how to get from t = 0 to t = 1.
    - `start`: `"noise"` or `"mean"`.

    **Returns:** times, states and class log-probabilities.

    **Raises:** `ValueError` or `TypeError` for invalid images or times; at run time, if the solver fails.
    """
    check_on_host(model, xs)
    check_images(xs)
    if not isinstance(ts, Tracer):
        times = np.asarray(ts)
        if len(times) == 0 or not (0 <= times[0] and times[-1] <= 1 and bool((np.diff(times) > 0).all())):
            raise ValueError(f"Expected strictly increasing times in [0, 1]; got ts={times.tolist()}.")
    check_alive(model)
    with told_here():
        features = encode_batch(model, jnp.asarray(xs))
        keys = Positions(jnp.asarray(0), len(xs), key).keys
        return _run(model, features, jnp.asarray(ts, jnp.float32), keys, sampler, start)


@eqx.filter_jit
def _run(
    model: AbstractModel,
    features: Features,
    ts: Float[Array, " times"],
    keys: Shaped[Array, "n ..."],  # legacy keys are two numbers each
    sampler: AbstractSampler,
    start: Start,
) -> Trajectories:
    def one(features: Features, key: Key) -> tuple[Array, Array]:
        start_key, path_key = jr.split(jr.split(key, 1)[0])  # those of the first draw of a prediction
        z0 = model.initial_state(start, key=start_key)
        zs = sampler.trajectory(model, z0, features, ts, key=path_key)
        return zs, jax.vmap(lambda t, z: model.log_posterior(t, z, features))(ts, zs)

    zs, log_posteriors = eqx.filter_vmap(one)(features, keys)
    return Trajectories(ts, zs, log_posteriors)
