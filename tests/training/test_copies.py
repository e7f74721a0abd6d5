"""Copies of models and states."""

import weakref

import jax.numpy as jnp
import numpy as np

from noprop_ode._training import copies


def test_a_large_array_that_nobody_else_holds_is_freed_before_the_next_is_copied(monkeypatch):
    alive, original = [], copies._copied
    held = jnp.arange(2**19, dtype=jnp.float32)
    trees = [{"a": jnp.zeros(2**19), "b": jnp.ones(2**19), "held": held, "again": held, "small": jnp.ones(3), "n": 7}]
    references = [weakref.ref(trees[0][name]) for name in ("a", "b")]
    expected = {name: np.array(value) for name, value in trees[0].items()}

    def counting(arrays):
        alive.append(sum(reference() is not None for reference in references))
        return original(arrays)

    monkeypatch.setattr(copies, "_copied", counting)
    copy = copies.taken_over(trees)
    assert trees == [] and alive == [2, 1, 1, 0, 0]  # a, again, b, held, and the small ones
    for name, value in expected.items():
        np.testing.assert_array_equal(copy[name], value)
    places = {copy[name].unsafe_buffer_pointer() for name in ("held", "again")} | {held.unsafe_buffer_pointer()}
    assert len(places) == 3, "each has a buffer of its own, to be donated"
