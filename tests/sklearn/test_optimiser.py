"""The optimiser of the classifier is AdamW, and two of them differ in their state alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jaxtyping import Array


pytest.importorskip("sklearn")

import noprop_ode as no
from noprop_ode.sklearn._optimiser import adamw, with_rates


class Scale(no.AbstractVectorField):
    """One weight."""

    weight: Array

    def encode(self, x, *, key=None):
        return self.weight

    def __call__(self, t, z, features):
        return features


@pytest.mark.parametrize("by_block", [False, True])
def test_it_takes_the_steps_of_adamw(by_block):
    weight = jnp.array([[1.0, -2.0], [3.0, 0.5]])
    params = {"blocks": no.Blocks(lambda key: Scale(weight[0]), 2, key=jr.key(0)), "rest": weight}
    reference = optax.adamw(1e-2, weight_decay=0.3)
    ours, theirs = adamw(1e-2, 0.3, by_block=by_block), no.blockwise(reference) if by_block else reference

    def walk(optimiser):
        at, state = params, optimiser.init(params)
        for size in (1.0, -0.1, 2.0):
            grads = jax.tree.map(lambda p, size=size: size * p, params)
            updates, state = optimiser.update(grads, state, at)
            at = eqx.apply_updates(at, updates)
        return jax.tree.leaves(at)

    for a, b in zip(walk(ours), walk(theirs)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_two_of_them_are_one_to_the_compiler():
    assert adamw(1e-2, 0.3, by_block=True) == adamw(1e-3, 0.0, by_block=True)
    assert hash(adamw(1e-2, 0.3, by_block=True)) == hash(adamw(1e-3, 0.0, by_block=True))
    assert adamw(1e-2, 0.3, by_block=True) != adamw(1e-2, 0.3, by_block=False)


def test_the_rates_of_a_state_are_replaced_and_nothing_else():
    params = {"a": jnp.ones(2)}
    old, new = (adamw(rate, 0.3, by_block=False).init(params) for rate in (1e-2, 1e-3))
    assert eqx.tree_equal(with_rates(old, 1e-3, 0.3), new)
    assert not eqx.tree_equal(old, new)
