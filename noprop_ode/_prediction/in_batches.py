"""Many images, batch by batch, on the devices of a model."""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from .._check import as_native
from .._lazy import AbstractLazyImages
from .._model import AbstractModel
from .._sizes import told_here
from .encoded import EncodedImages


def in_batches(
    run: Callable[[AbstractModel, Any, Any], PyTree[Any]], model: AbstractModel, xs: Any, batch_size: int
) -> Iterator[tuple[int, PyTree[Any]]]:
    """Runs a function over batches of one size, so that it compiles once; the last is padded with its first image.

    A model that lies on several devices predicts on all of them, each with a share of the batch.

    **Arguments:**

    - `run`: called with the model, a batch, and the position of its first image.
    - `model`: the model.
    - `xs`: the images: an array, lazy, or encoded.
    - `batch_size`: images per call on each device.

    **Yields:** the number of images in a batch, and what `run` returned for it, padding included.

    **Raises:** `ValueError` for a batch of no images.
    """
    if batch_size < 1 or len(xs) == 0:
        raise ValueError(f"A call needs at least one image; got batch_size={batch_size} and {len(xs)} images.")
    model, share = _spread(model)
    devices = 1 if share is None else share.num_devices
    size = -(-min(batch_size * devices, len(xs)) // devices) * devices
    for number, batch in enumerate(_chunks(xs, size)):
        n = len(batch)
        if n < size:
            batch = _padded(batch, size)
        with told_here():
            found = run(model, _placed(batch, share), jax.device_put(np.int32(number * size)))
        # Whole on each device, and so in each process, which cannot read the parts of others.
        yield n, found if share is None else _whole(found, share)


def _chunks(xs: Any, size: int) -> Iterator[Any]:
    if isinstance(xs, AbstractLazyImages):
        return xs.chunks(size)
    return (xs[first : first + size] for first in range(0, len(xs), size))


def _padded(batch: Any, size: int) -> Any:
    if isinstance(batch, EncodedImages):
        return batch.padded(size)
    return np.concatenate([np.asarray(batch), np.repeat(np.asarray(batch[:1]), size - len(batch), axis=0)])


def _placed(batch: Any, share: NamedSharding | None) -> Any:
    if isinstance(batch, EncodedImages):
        return jax.tree.map(lambda leaf: _divided(leaf, share) if eqx.is_array(leaf) else leaf, batch)
    return _divided(batch, share)


def _divided(batch: Any, share: NamedSharding | None) -> jax.Array:
    batch = as_native(batch)
    if share is None:
        return jnp.asarray(batch)
    if share.is_fully_addressable:
        return jax.device_put(batch, share)
    batch = np.asarray(batch)  # every process has all of it, and puts its part on its devices
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
