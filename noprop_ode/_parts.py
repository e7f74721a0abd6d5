"""A batch in parts that fit into the cache of a CPU."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


# XLA computes the gradient of a convolution in its weight as one with kernels of the size of the image, over the whole
# batch as its channels: at 16 to 40 examples its speed is that of the forward pass, at 128 or 200 half of it.
_LARGEST, _SMALLEST = 40, 16
_PIXELS = 12 * 12  # of smaller images the gradient fits whole


def vmap_in_parts(function: Callable[..., PyTree[Array]], network: PyTree[Any]) -> Callable[..., PyTree[Array]]:
    """`jax.vmap`, on CPU over a part of the batch at a time where a network convolves images.

    The values are those of `jax.vmap`, and so are gradients but for the order of their sums. The gradient of a
    convolution is up to twice as fast, and a training step takes less memory. Elsewhere, for a network without a
    convolution, for images so small that it makes no difference, and for batches that do not divide, it is `jax.vmap`
    itself.

    **Arguments:**

    - `function`: of one image and more arguments.
    - `network`: what it calls; kernels are known by their four axes.

    **Returns:** the function of a batch: each argument has a leading axis.
    """
    whole = jax.vmap(function)
    kernels = any(array.ndim >= 4 for array in jax.tree.leaves(eqx.filter(network, eqx.is_array)))

    def run(xs: Array, *others: Array) -> PyTree[Array]:
        helps = kernels and jax.default_backend() == "cpu" and math.prod(xs.shape[1:3]) >= _PIXELS
        size = part_size(len(xs)) if helps else len(xs)
        if size == len(xs):
            return whole(xs, *others)
        # Every n-th example and not a run of them, so that a batch that is sharded over devices stays where it is.
        parts = [array.reshape(size, -1, *array.shape[1:]) for array in (xs, *others)]
        results = [whole(*(part[:, i] for part in parts)) for i in range(len(xs) // size)]
        return jax.tree.map(lambda *rs: _joined(jnp.stack(rs, axis=1)), *results)

    return run


def _joined(stacked: Any) -> Array:
    return stacked.reshape(-1, *stacked.shape[2:])


def part_size(batch: int) -> int:
    """How many examples a part of a batch has: a divisor of it, one that 8, 4 or 2 devices divide where there is one;
    the whole batch if none is of a size that helps.

    **Arguments:** `batch`, the number of examples. **Returns:** the number in a part.
    """
    sizes = [size for size in range(_SMALLEST, _LARGEST + 1) if batch % size == 0]
    return max(sizes, key=lambda size: (math.gcd(size, 8), size), default=batch)
