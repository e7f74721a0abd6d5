"""The features of a batch of images, in separate programs: compiled once, whatever is predicted from the features."""

from collections.abc import Collection, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

from .._blocks import Blocks
from .._choices import Prediction
from .._gaussian import AbstractGaussianModel
from .._model import AbstractModel
from .._types import Features
from .._vector_field import AbstractVectorField


def encode_batch(model: AbstractModel, xs: Shaped[Array, "n *image"], prediction: Prediction | None = None) -> Features:
    """The features of each image, on a leading axis n.

    Blocks are encoded one after another by calls of one compiled function: compilation does not grow with their
    number, and the intermediate results in memory are those of one block.

    **Arguments:**

    - `model`: the model.
    - `xs`: images, `[n, height, width, channels]`.
    - `prediction`: what the features are for. Blocks that it does not evaluate are not run; their features are zero.

    **Returns:** what `model.field.encode` returns, for each image.
    """
    field = model.field
    if not isinstance(field, Blocks):
        return _encoded(field, xs)
    asked = range(field.num_blocks) if prediction is None else _asked(model, field, prediction)
    return _stacked({k: _encoded_by_block(field, jnp.asarray(k), xs) for k in asked}, field.num_blocks)


def _asked(model: AbstractModel, field: Blocks, prediction: Prediction) -> Collection[int]:
    """The positions of the blocks that a prediction evaluates: known if no trajectory is run, otherwise all."""
    decoder, sampler = prediction.decoder, prediction.sampler
    times = decoder.asks_at(sampler)
    if not isinstance(model, AbstractGaussianModel) or decoder.t1(sampler) > 0 or times is None:
        return range(field.num_blocks)
    return sorted(set(_owners(field, jnp.asarray(times, jnp.float32)).tolist()))


# `filter_vmap` lets non-arrays pass, which features may also contain.
@eqx.filter_jit
def _encoded(field: AbstractVectorField, xs: Shaped[Array, "n *image"]) -> Features:
    return eqx.filter_vmap(lambda x: field.encode(x))(xs)


@eqx.filter_jit
def _encoded_by_block(blocks: Blocks, k: Int[Array, ""], xs: Shaped[Array, "n *image"]) -> Features:
    block = blocks.block(k)
    return eqx.filter_vmap(lambda x: block.encode(x))(xs)


@eqx.filter_jit
def _stacked(parts: Mapping[int, Features], num_blocks: int) -> Features:
    zeros = jax.tree.map(jnp.zeros_like, next(iter(parts.values())))
    return jax.tree.map(lambda *own: jnp.stack(own, axis=1), *(parts.get(k, zeros) for k in range(num_blocks)))


@eqx.filter_jit
def _owners(blocks: Blocks, ts: Array) -> Array:
    return jax.vmap(blocks.owner)(ts)
