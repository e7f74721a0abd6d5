"""A batch in parts that fit into the cache of a CPU."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


# XLA computes the gradient of a convolution with respect to its weight as a convolution with image-sized kernels and
# the batch as channels: with 16 to 40 examples it is as fast as the forward pass, with 128 or 200 half as fast. That is
# with YNNPACK; with Eigen, which the steps of `train` use, a step is 0 to 3 % faster in parts, and needs less memory.
_LARGEST, _SMALLEST = 40, 16
_PIXELS = 12 * 12  # for smaller images, the whole gradient fits


def vmap_in_parts(function: Callable[..., PyTree[Array]], network: PyTree[Any]) -> Callable[..., PyTree[Array]]:
    """`jax.vmap`; on a single CPU device, over one part of the batch at a time if the network convolves images.

    The values are those of `jax.vmap`, and so are gradients up to the order of summation. The gradient of a
    convolution may be twice as fast, and a training step takes less memory. Elsewhere, for a network without a
    convolution, for images so small that it makes no difference, and for batches that do not divide, it is `jax.vmap`
    itself.

    **Arguments:**

    - `function`: takes one image and further arguments.
    - `network`: the network it calls; convolution kernels are recognised by having four or more axes.

    **Returns:** the batched function: each argument has a leading axis.
    """
    whole = jax.vmap(function)
    kernels = any(array.ndim >= 4 for array in jax.tree.leaves(eqx.filter(network, eqx.is_array)))

    def run(xs: Array, *others: Array) -> PyTree[Array]:
        # On several devices, the gradient of each part would be summed over them separately.
        alone = jax.default_backend() == "cpu" and jax.device_count() == 1
        size = part_size(len(xs)) if alone and kernels and math.prod(xs.shape[1:3]) >= _PIXELS else len(xs)
        if size == len(xs) or len(xs) == 0:
            return whole(xs, *others)
        parts = [array.reshape(-1, size, *array.shape[1:]) for array in (xs, *others)]
        results = [whole(*part) for part in zip(*parts)]
        return jax.tree.map(lambda *rs: jnp.concatenate(rs), *results)

    return run


def part_size(batch: int) -> int:
    """The number of examples in a part of a batch: a divisor of the batch size, or all if none is of a useful size.

    **Arguments:** `batch`, the number of examples. **Returns:** the number in a part.
    """
    return max((size for size in range(_SMALLEST, _LARGEST + 1) if batch % size == 0), default=batch)
