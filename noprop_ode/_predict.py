import functools
import operator
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

from ._check import check_images
from ._model import AbstractDecoder, AbstractModel, AbstractSampler, Prediction, Start, name_of
from ._types import Image, Key, LogProbs, Scalar


class SolverError(RuntimeError):
    """The solver of a sampler failed on some examples."""


def predict_one(
    model: AbstractModel,
    x: Image,
    *,
    key: Key,
    sampler: AbstractSampler,
    start: Start,
    draws: int,
    decoder: AbstractDecoder,
) -> tuple[LogProbs, Scalar, diffrax.RESULTS]:
    """One image; the building block of `predict_log_proba`, for use inside your own `jit` and `vmap`.

    **Arguments:** as for [`noprop_ode.predict_log_proba`][], with one image.

    **Returns:** log-probabilities `[classes]`, the number of evaluations of the vector field over all draws, and the
    solver's result code for each draw `[draws]`.
    """
    features = model.field.encode(x)  # once, whatever the number of steps and of draws

    def draw(key: Key):
        start_key, path_key = jr.split(key)
        z0 = model.initial_state(start, key=start_key)
        end = sampler.sample(model, z0, features, key=path_key, last_step=decoder.last_step)
        return decoder(model, end, features), end.num_evaluations + decoder.num_evaluations, end.result

    log_ps, evaluations, results = jax.vmap(draw)(jr.split(key, draws))
    return jnn.logsumexp(log_ps, axis=0) - np.log(draws).astype(np.float32), jnp.sum(evaluations), results


@eqx.filter_jit
def _predict_batch(
    model: AbstractModel, xs: Shaped[Array, "n *image"], first: Int[Array, ""], key: Key, **how: Any
) -> tuple[Float[Array, "n classes"], Float[Array, " n"], PyTree[Int[Array, "n draws"]]]:
    # The key of an example depends on its position alone, so results do not depend on the batch size.
    keys = jax.vmap(lambda i: jr.fold_in(key, i))(first + jnp.arange(len(xs)))
    return jax.vmap(lambda x, key: predict_one(model, x, key=key, **how))(xs, keys)


def predict_log_proba(
    model: AbstractModel,
    xs: Any,
    *,
    key: Key,
    sampler: AbstractSampler | None = None,
    start: Start | None = None,
    draws: int = 1,
    decoder: AbstractDecoder | None = None,
    batch_size: int = 500,
) -> Float[Array, "n classes"]:
    r"""Class log-probabilities of many images, compiled once and run in batches.

    A trajectory carries noise to a *sample* $y \sim p(y | x)$, so a single one is right as often as the true class
    is probable, not as often as the most probable class is. A prediction therefore has three choices: where
    trajectories start and how many there are, how they are integrated, and where the probabilities come from.
    The default of the NoProp variants is one step from the mean, read from the denoiser: the network's own
    $p(y | x)$, in one evaluation. The paper's protocol is `start="noise", draws=1, decoder=ReadoutDecoder()` with
    `sampler=ODE(diffrax.Euler(), steps=1000)` for CT and FM, and `sampler=Ancestral(10)` for DT.

    **Arguments:**

    - `model`: the model. Its `default_prediction` stands in for each of sampler, start and decoder not given.
    - `xs`: images, `[n, height, width, channels]`, NumPy or JAX; uint8 in [0, 255] or floating point in [0, 1].
    - `key`: randomness of draws and samplers.
    - `sampler`: from t = 0 to t = 1; for DT and CT one DDIM step by default, for flow matching one Euler step.
    - `start`: `"noise"`, $z_0 \sim \mathcal{N}(0, I)$, or `"mean"`, $z_0 = 0$.
    - `draws`: number of trajectories whose probabilities are averaged; they share the features of the image.
    - `decoder`: where the probabilities come from; [`noprop_ode.DenoiserDecoder`][] by default.
    - `batch_size`: images per call on the device; the result does not depend on it.

    **Returns:** log-probabilities, shape `[n, classes]`, in nats.

    **Raises:** `ValueError` or `TypeError` for images that are not images, `SolverError` if the solver failed.
    """
    how = {"sampler": sampler, "start": start, "draws": draws, "decoder": decoder}
    return predict_with_evaluations(model, xs, key=key, batch_size=batch_size, **how)[0]


def complete(
    model: AbstractModel, start: Start | None, sampler: AbstractSampler | None, decoder: AbstractDecoder | None
) -> Prediction:
    """The choices of a prediction, those of the model where none is given."""
    default = model.default_prediction
    return Prediction(
        default.start if start is None else start,
        default.sampler if sampler is None else sampler,
        default.decoder if decoder is None else decoder,
    )


def check_draws(how: Prediction, draws: int) -> None:
    """Refuses draws that would all be the same."""
    if how.start == "mean" and draws > 1 and not how.sampler.stochastic:
        raise ValueError(
            f"From the mean, {draws} draws of a deterministic sampler are all the same; use draws=1, or start='noise'."
        )


def predict_with_evaluations(
    model: AbstractModel,
    xs: Any,
    *,
    key: Key,
    sampler: AbstractSampler | None,
    start: Start | None,
    draws: int,
    decoder: AbstractDecoder | None,
    batch_size: int,
) -> tuple[Float[Array, "n classes"], Float[Array, " n"]]:
    """As `predict_log_proba`, with the number of evaluations of the vector field spent on each image, `[n]`."""
    how = complete(model, start, sampler, decoder)
    check_images(xs)
    if draws < 1 or batch_size < 1:
        raise ValueError(f"draws and batch_size must be at least 1; got draws={draws}, batch_size={batch_size}.")
    check_draws(how, draws)
    run = functools.partial(_predict_batch, draws=draws, **how._asdict())
    log_ps, evaluations = zip(*_in_batches(run, model, xs, key, batch_size, name=_sampler_name(how.sampler)))
    return jnp.concatenate(log_ps), jnp.concatenate(evaluations)


def _in_batches(run: Callable[..., Any], model: AbstractModel, xs: Any, key: Key, batch_size: int, *, name: str):
    """Runs over batches of one size, so that there is one compilation: the last is padded with its first image."""
    size = min(batch_size, len(xs))
    for first in range(0, len(xs), size):
        batch = xs[first : first + size]
        n = len(batch)
        if n < size:
            batch = np.concatenate([np.asarray(batch), np.repeat(np.asarray(batch[:1]), size - n, axis=0)])
        log_p, evaluations, results = run(model, jnp.asarray(batch), jnp.asarray(first), key)
        _raise_failures(jax.tree.map(operator.itemgetter(slice(n)), results), name)
        yield log_p[:n], evaluations[:n]


def _raise_failures(results: diffrax.RESULTS, name: str) -> None:
    okay = np.asarray(diffrax.is_okay(results))
    if okay.all():
        return
    where = tuple(int(i) for i in np.argwhere(~okay)[0])
    code = jax.tree.map(lambda r: r[where], results)
    raise SolverError(
        f"{name} failed on {int((~okay).any(axis=-1).sum())} of {len(okay)} images; the first failure says: "
        f"{diffrax.RESULTS[code]} Allow more steps (max_steps), loosen the tolerances, or use fixed steps."
    )


def _sampler_name(sampler: AbstractSampler) -> str:
    parts = [name_of(leaf) for leaf in jax.tree.leaves(sampler, is_leaf=_is_solver) if _is_solver(leaf)]
    return f"{name_of(sampler)}({', '.join(parts)})"


def _is_solver(node: Any) -> bool:
    return isinstance(node, diffrax.AbstractSolver)


def predict(model: AbstractModel, xs: Any, *, key: Key, **how: Any) -> Int[Array, " n"]:
    """The most probable class of many images.

    **Arguments:** as for [`noprop_ode.predict_log_proba`][].

    **Returns:** classes, shape `[n]`.
    """
    return jnp.argmax(predict_log_proba(model, xs, key=key, **how), axis=-1)
