"""Random numbers whose programs compile fast: the same numbers, without the loop."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from noprop_ode.experiment._random_numbers import compile_random_numbers_fast, hashed


# Key, counter and result of the known-answer tests that the authors of the generator publish with it (Random123).
KNOWN = (
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
)


@pytest.mark.parametrize(("key", "counter", "bits"), KNOWN)
def test_the_hash_is_that_of_its_authors(key, counter, bits):
    found = hashed(*(jnp.asarray(word, jnp.uint32) for word in key + counter))
    assert tuple(int(word) for word in found) == bits


def test_the_numbers_are_those_of_jax_and_their_program_has_no_loop():
    key = jr.wrap_key_data(jnp.asarray([3, 4], jnp.uint32), impl="threefry2x32")

    def draws(key):
        keys = jr.split(jr.fold_in(key, 5), 3)
        return jax.vmap(lambda key: jr.bits(key, (7, 11)))(keys)

    assert compile_random_numbers_fast()
    jax.clear_caches()
    assert "while" not in jax.jit(draws).lower(key).as_text()

    words = [jnp.full(77, word, jnp.uint32) for word in np.asarray(jr.key_data(key))]
    one, other = hashed(*words, jnp.zeros(77, jnp.uint32), jnp.arange(77, dtype=jnp.uint32))
    np.testing.assert_array_equal(jr.bits(key, (7, 11)), (one ^ other).reshape(7, 11))
