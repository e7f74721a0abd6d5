"""Blocks as they are built: those that their keys make, alike in all but their numbers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import noprop_ode as no


def make(key):
    return no.nn.MLPField((2, 2, 1), 3, 3, width=8, time_size=4, key=key)


def test_blocks_are_those_that_their_keys_make_alone_or_in_a_program():
    def make(key):
        return no.nn.MLPField((2, 2, 1), 3, 3, width=8, key=key)

    blocks = no.Blocks(make, 3, key=jr.key(0))
    traced = eqx.filter_jit(lambda key: no.Blocks(make, 3, key=key))(jr.key(0))
    for k, key in enumerate(jr.split(jr.key(0), 3)):
        for own, alone in zip(jax.tree.leaves(blocks.block(k)), jax.tree.leaves(make(key)), strict=True):
            np.testing.assert_array_equal(own, alone)
    for own, other in zip(jax.tree.leaves(blocks), jax.tree.leaves(traced), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-6)


class Marked(no.AbstractVectorField):
    """A network with settings of every kind."""

    weight: jax.Array
    mark: int = eqx.field(static=True)
    rates: dict[str, float]

    def encode(self, x, *, key=None):
        return jnp.zeros((), jnp.float32)

    def __call__(self, t, z, features):
        return self.weight


@pytest.mark.parametrize(
    "mark, rate, size, message",
    [
        (1, 0.1, 3, "block 1 has mark=1, block 0 mark=0"),
        (0, 0.2, 3, r"block 1 has rates\['a'\]=0.2, block 0 rates\['a'\]=0.1"),
        (0, 0.1, 4, r"block 1 has weight='float32\[4\]', block 0 weight='float32\[3\]'"),
    ],
)
def test_blocks_that_differ_in_their_settings_are_refused(mark, rate, size, message):
    others = iter([(0, 0.1, 3), (mark, rate, size)])

    def make(key):
        mark, rate, size = next(others)
        return Marked(jr.normal(key, (size,), jnp.float32), mark, {"a": rate})

    with pytest.raises(ValueError, match=message):
        no.Blocks(make, 2, key=jr.key(0))


@pytest.mark.parametrize("k", [-1, 3])
def test_a_position_beyond_the_blocks_is_refused(k, key):
    model = no.NoPropDT(no.Blocks(make, 3, key=key), embedding=no.OneHot(3))
    for use in (model.field.block, lambda k: model.block_error(jnp.ones((2, 2, 1)), jnp.asarray(1), k, key=key)):
        with pytest.raises(ValueError, match=f"Expected a block from 0 to 2; got k={k}"):
            use(k)


def test_no_blocks():
    with pytest.raises(ValueError, match="at least one block"):
        no.Blocks(make, 0, key=jr.key(0))
