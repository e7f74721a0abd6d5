"""Class probabilities of one image, and of many in batches."""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PyTree

from .._check import check_alive, check_images
from .._choices import AbstractDecoder, AbstractSampler, Prediction, Start
from .._lazy import AbstractLazyImages
from .._model import AbstractModel, name_of
from .._sizes import told_here
from .._types import Key
from .one import predict_batch
from .prediction import complete


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
    batch_size: int = 500,
) -> Float[Array, "n classes"]:
    r"""Class log-probabilities of many images, compiled once and run in batches.

    A trajectory carries noise to a *sample* $y \sim p(y | x)$, so a single one is right as often as the true class
    is probable, not as often as the most probable class is. A prediction therefore has three choices: where
    trajectories start and how many there are, how they are integrated, and where the probabilities come from.
    The default of the NoProp variants is one step from the mean, read from the denoiser: the network's own
    $p(y | x)$, in one evaluation. The paper's protocol is `prediction=model.paper_prediction`.

    **Arguments:**

    - `model`: the model.
    - `xs`: images, `[n, height, width, channels]`, NumPy or JAX; uint8 in [0, 255] or floating point in [0, 1].
    - `key`: randomness of draws and samplers.
    - `prediction`: how to predict; the `default_prediction` of the model if not given. Each of the five arguments that
        follow replaces a part of it.
    - `start`: `"noise"`, $z_0 \sim \mathcal{N}(0, I)$, or `"mean"`, $z_0 = 0$.
    - `sampler`: from t = 0 to t = 1.
    - `decoder`: where the probabilities come from.
    - `draws`: number of trajectories whose probabilities are averaged; they share the features of the image.
    - `mirror`: average over the image and its mirror image, for twice the cost. It suits images that were mirrored at
        random in training.
    - `batch_size`: images per call on the device; the result does not depend on it.

    **Returns:** log-probabilities, shape `[n, classes]`, in nats.

    **Raises:** `ValueError` or `TypeError` for images that are not images, `SolverError` if the solver failed.
    """
    how = complete(model, prediction, start=start, sampler=sampler, decoder=decoder, draws=draws, mirror=mirror)
    return predict_with_evaluations(model, xs, how, key=key, batch_size=batch_size)[0]


def predict_with_evaluations(
    model: AbstractModel, xs: Any, how: Prediction, *, key: Key, batch_size: int
) -> tuple[Float[Array, "n classes"], Float[Array, " n"]]:
    """As `predict_log_proba`, with the number of evaluations of the vector field spent on each image, `[n]`."""
    check_images(xs)
    check_alive(model)
    if batch_size < 1:
        raise ValueError(f"A call needs at least one image; got batch_size={batch_size}.")
    run = functools.partial(predict_batch, prediction=how)
    log_ps, evaluations = zip(*_in_batches(run, model, xs, key, batch_size, name=_sampler_name(how.sampler)))
    return jnp.concatenate(log_ps), jnp.concatenate(evaluations)


def _in_batches(run: Callable[..., Any], model: AbstractModel, xs: Any, key: Key, batch_size: int, *, name: str):
    """Runs over batches of one size, so that there is one compilation: the last is padded with its first image.

    A model that lies on several devices predicts on all of them, each with a share of the batch.
    """
    model, share = _spread(model)
    devices = 1 if share is None else share.num_devices
    size = -(-min(batch_size, len(xs)) // devices) * devices
    for number, batch in enumerate(_chunks(xs, size)):
        n = len(batch)
        if n < size:
            batch = np.concatenate([np.asarray(batch), np.repeat(np.asarray(batch[:1]), size - n, axis=0)])
        images = jnp.asarray(batch) if share is None else _divided(batch, share)
        with told_here():
            log_p, evaluations, results = run(model, images, jnp.asarray(number * size), key)
        if share is not None:
            # Whole on each device, and so in each process, for the parts of others cannot be read.
            log_p, evaluations, results = _whole((log_p, evaluations, results), share)
        _raise_failures(jax.tree.map(operator.itemgetter(slice(n)), results), name)
        yield log_p[:n], evaluations[:n]


def _chunks(xs: Any, size: int) -> Iterator[Any]:
    if isinstance(xs, AbstractLazyImages):
        return xs.chunks(size)
    return (xs[first : first + size] for first in range(0, len(xs), size))


def _divided(batch: Any, share: NamedSharding) -> jax.Array:
    if share.is_fully_addressable:
        return jax.device_put(batch, share)
    batch = np.asarray(batch)  # which every process has; each puts its part on its devices
    return jax.make_array_from_callback(batch.shape, share, lambda index: batch[index])


def _whole(tree: PyTree[Any], share: NamedSharding) -> PyTree[Any]:
    everywhere = NamedSharding(share.mesh, PartitionSpec())
    return jax.tree.map(lambda a: jax.device_put(a, everywhere) if eqx.is_array(a) else a, tree)


def _spread(model: AbstractModel) -> tuple[AbstractModel, NamedSharding | None]:
    """The model with all of its arrays on each of its devices, and how to divide a batch among them."""
    arrays, rest = eqx.partition(model, eqx.is_array)
    found = [a.sharding for a in jax.tree.leaves(arrays) if isinstance(a, jax.Array) and not isinstance(a, Tracer)]
    meshes = {s.mesh for s in found if isinstance(s, NamedSharding) and s.num_devices > 1}
    if len(meshes) != 1:
        return model, None
    mesh = meshes.pop()
    whole = jax.device_put(arrays, NamedSharding(mesh, PartitionSpec()))
    return eqx.combine(whole, rest), NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def _raise_failures(results: diffrax.RESULTS, name: str) -> None:
    okay = np.asarray(diffrax.is_okay(jax.tree.map(np.asarray, results)))  # on the host: nothing to compile for it
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
    batch_size: int = 500,
) -> Int[Array, " n"]:
    """The most probable class of many images.

    **Arguments:** as for [`noprop_ode.predict_log_proba`][].

    **Returns:** classes, shape `[n]`.
    """
    how = complete(model, prediction, start=start, sampler=sampler, decoder=decoder, draws=draws, mirror=mirror)
    return jnp.argmax(predict_log_proba(model, xs, key=key, prediction=how, batch_size=batch_size), axis=-1)
