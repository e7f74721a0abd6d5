"""JAX's random numbers, in programs that compile in a fraction of the time."""

import contextlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Integer


_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def compile_random_numbers_fast() -> bool:
    """Makes the CPU programs that JAX compiles from now on in this process hash their counters in straight-line code.

    On CPU, JAX writes the hash behind its random numbers (Threefry-2x32, Salmon et al. 2011) as a loop whose rotations
    are data. LLVM makes many copies of the body of that loop, one for each case of a rotation that it cannot rule out:
    these are a third of the compilation time of a training step. With constant rotations there is one case. The numbers
    are the same to the last bit.

    **Returns:** whether this version of JAX allows it.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from jax.extend.random import threefry2x32_p
        from jax.interpreters import mlir

        mlir.register_lowering(threefry2x32_p, mlir.lower_fun(hashed, multiple_results=True), platform="cpu")
        return True
    return False


def hashed(
    key_0: Integer[Array, "..."],
    key_1: Integer[Array, "..."],
    counter_0: Integer[Array, "..."],
    counter_1: Integer[Array, "..."],
) -> tuple[Integer[Array, "..."], Integer[Array, "..."]]:
    """Threefry-2x32 in 20 rounds.

    **Arguments:** two words of the key and two of the counter, `uint32`, of shapes that broadcast; in an exported
    program, some sizes are symbolic.

    **Returns:** two words of random bits.
    """
    # By `lax`: `jax.numpy`, which promotes and broadcasts in every operation, would take twice as long to trace.
    key_0, key_1, a, b = jnp.broadcast_arrays(key_0, key_1, counter_0, counter_1)
    parity = lax.bitwise_xor(lax.bitwise_xor(key_0, key_1), lax.full_like(key_0, _PARITY))
    keys = (key_0, key_1, parity)
    a, b = lax.add(a, key_0), lax.add(b, key_1)
    for i in range(5):
        for rotation in _ROTATIONS[i % 2]:
            a = lax.add(a, b)
            b = lax.bitwise_xor(a, _rotated(b, rotation))
        a, b = lax.add(a, keys[(i + 1) % 3]), lax.add(b, keys[(i + 2) % 3])
        b = lax.add(b, lax.full_like(b, i + 1))
    return a, b


def _rotated(word: Any, bits: int) -> Any:
    left, right = (lax.full_like(word, n) for n in (bits, 32 - bits))
    return lax.bitwise_or(lax.shift_left(word, left), lax.shift_right_logical(word, right))
