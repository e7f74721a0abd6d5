"""Class probabilities of one image, and of many in batches."""

import functools
import operator
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._check import check_alive, check_images, check_on_host
from .._choices import AbstractDecoder, AbstractSampler, Prediction, Start
from .._model import AbstractModel, name_of
from .._types import Key
from .encoded import EncodedImages, check_features
from .in_batches import in_batches
from .one import predict_batch
from .prediction import complete


# The codes of a solve that succeeded, or that an event ended.
_OKAY = [int(jax.tree.leaves(result)[0]) for result in (diffrax.RESULTS.successful, diffrax.RESULTS.event_occurred)]


class SolverError(RuntimeError):
    """The solver of a sampler failed on some examples."""


def predict_log_proba(
    model: AbstractModel,
    xs: Any,
    *,
    key: Key,
    prediction: Prediction | None = None,
    start: Start | None = None,
    sampler: AbstractSampler | None = None,
    decoder: AbstractDecoder | None = None,
    draws: int | None = None,
    mirror: bool | None = None,
    shift: int | None = None,
    batch_size: int = 500,
) -> Float[Array, "n classes"]:
    r"""Class log-probabilities of many images, compiled once and run in batches.

    A trajectory carries noise to a *sample* $y \sim p(y | x)$, so a single one is right with the probability of the
    true class, not as often as the most probable class is right. A prediction therefore makes three choices: where
    trajectories start and how many there are, how they are integrated, and where the probabilities come from.

    By default, CT takes one step from the mean, read from the denoiser: the network's own $p(y | x)$, in a single
    evaluation. DT with one-hot labels averages such estimates over the blocks of the lower half of the SNR, with one
    evaluation each; FM takes one step from each of four draws. The paper's protocol is
    `prediction=model.paper_prediction`.

    **Arguments:**

    - `model`: the model.
    - `xs`: images, `[n, height, width, channels]`, NumPy or JAX; uint8 in [0, 255] or floating point in [0, 1]. Or
        the same encoded by [`noprop_ode.encode`][].
    - `key`: randomness for draws and samplers.
    - `prediction`: how to predict; the `default_prediction` of the model if not given. Each of the next six arguments
        replaces a part of it.
    - `start`: `"noise"`, $z_0 \sim \mathcal{N}(0, I)$, or `"mean"`, $z_0 = 0$.
    - `sampler`: how to get from t = 0 to t = 1. If the default runs none, as for DT with one-hot labels, a sampler
        given without a decoder is read from the denoiser at the start of its last step. With adaptive steps that start
        is not known: pass `decoder=ReadoutDecoder()` too.
    - `decoder`: where the probabilities come from.
    - `draws`: number of trajectories whose probabilities are averaged; they share the features of the image.
    - `mirror`: average over the image and its mirror image, at twice the cost. It suits images that were mirrored at
        random in training.
    - `shift`: average over the image and copies moved by this many pixels towards each of its four corners, at five
        times the cost; with `mirror`, also of the mirror image. It suits images that were shifted in training.
    - `batch_size`: images per call on each device; the result does not depend on it.

    **Returns:** log-probabilities, shape `[n, classes]`, in nats.

    **Raises:** `ValueError` or `TypeError` for invalid images, and for choices that do not go together or do not suit
    the model, such as an SDE with flow matching; `SolverError` if the solver failed.
    """
    how = complete(
        model, prediction, start=start, sampler=sampler, decoder=decoder, draws=draws, mirror=mirror, shift=shift
    )
    return predict_with_evaluations(model, xs, how, key=key, batch_size=batch_size)[0]


def predict_with_evaluations(
    model: AbstractModel, xs: Any, how: Prediction, *, key: Key, batch_size: int
) -> tuple[Float[Array, "n classes"], Float[Array, " n"]]:
    """Like `predict_log_proba`, with the number of vector field evaluations spent on each image, `[n]`."""
    check_on_host(model, xs)
    if isinstance(xs, EncodedImages):
        check_features(model, xs)
    else:
        check_images(xs)
    check_alive(model)

    log_ps, evaluations, unseen = [], [], []
    run = functools.partial(predict_batch, key=key, prediction=how)
    for n, (log_p, spent, results) in in_batches(run, model, xs, batch_size):
        unseen.append(jax.tree.map(operator.itemgetter(slice(n)), results))
        log_ps.append(log_p[:n])
        evaluations.append(spent[:n])
        if len(unseen) > 1:  # one batch behind, so that the device has the next one to work on meanwhile
            raise_failures(unseen.pop(0), sampler_name(how.sampler))
    raise_failures(unseen.pop(), sampler_name(how.sampler))
    return jnp.concatenate(log_ps), jnp.concatenate(evaluations)


def raise_failures(results: diffrax.RESULTS, name: str) -> None:
    """Checks, on the host, the result codes `[n, trajectories]` of a sampler with this name.

    **Raises:** `SolverError` if a solver failed.
    """
    (codes,) = jax.tree.leaves(results)
    okay = np.isin(np.asarray(codes), _OKAY)  # as `diffrax.is_okay`, but on the host: nothing is compiled for it
    if okay.all():
        return
    where = tuple(int(i) for i in np.argwhere(~okay)[0])
    code = jax.tree.map(lambda r: r[where], results)
    raise SolverError(
        f"{name} failed on {int((~okay).any(axis=-1).sum())} of {len(okay)} images; the first failure says: "
        f"{diffrax.RESULTS[code]} Allow more steps (max_steps), loosen the tolerances, or use fixed steps."
    )


def sampler_name(sampler: AbstractSampler) -> str:
    """The name of a sampler for messages, with its solver."""
    parts = [name_of(leaf) for leaf in jax.tree.leaves(sampler, is_leaf=_is_solver) if _is_solver(leaf)]
    return f"{name_of(sampler)}({', '.join(parts)})"


def _is_solver(node: Any) -> bool:
    return isinstance(node, diffrax.AbstractSolver)


def predict(
    model: AbstractModel,
    xs: Any,
    *,
    key: Key,
    prediction: Prediction | None = None,
    start: Start | None = None,
    sampler: AbstractSampler | None = None,
    decoder: AbstractDecoder | None = None,
    draws: int | None = None,
    mirror: bool | None = None,
    shift: int | None = None,
    batch_size: int = 500,
) -> Int[Array, " n"]:
    """The most probable class of many images.

    **Arguments:** as for [`noprop_ode.predict_log_proba`][].

    **Returns:** classes, shape `[n]`.

    **Raises:** as `predict_log_proba`, and `FloatingPointError` for NaN probabilities.
    """
    how = complete(
        model, prediction, start=start, sampler=sampler, decoder=decoder, draws=draws, mirror=mirror, shift=shift
    )
    log_ps = predict_log_proba(model, xs, key=key, prediction=how, batch_size=batch_size)
    refuse_nan(log_ps)
    return jnp.argmax(log_ps, axis=-1)


def refuse_nan(log_ps: Float[Array | np.ndarray, "n classes"]) -> None:
    """**Raises:** `FloatingPointError` for NaN probabilities."""
    bad = np.flatnonzero(np.isnan(np.asarray(log_ps)).any(axis=-1))
    if len(bad):
        raise FloatingPointError(
            f"{len(bad)} of {len(log_ps)} images, the first at index {bad[0]}, have class probabilities that are not "
            "numbers: weights of the model are NaN or infinite, or its output overflows. Look at the loss of its "
            "training."
        )
