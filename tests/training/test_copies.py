"""Copies of models and states."""

import types
import weakref

import jax.numpy as jnp
import numpy as np
import pytest
from fits import assert_same, how, splits, weights
from helpers import mlp_model

import noprop_ode as no
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


class _Refusing(Exception):
    """Memory that ran out."""


def test_a_copy_that_fails_leaves_the_state_where_it_was(monkeypatch):
    copied, original = [], copies._copied

    def failing(arrays):
        if copied:
            raise _Refusing
        copied.append(arrays)
        return original(arrays)

    monkeypatch.setattr(copies, "_copied", failing)
    holder = types.SimpleNamespace(state={"a": jnp.zeros(2**19), "b": jnp.ones(2**19)})
    with pytest.raises(_Refusing):
        copies.take_over(holder)
    assert float(holder.state["a"].sum()) == 0 and float(holder.state["b"].sum()) == 2**19


def test_a_run_copies_the_state_once_and_again_only_if_a_callback_changed_it(monkeypatch):
    taken, original = [], copies.taken_over

    def counting(trees):
        taken.append(True)
        return original(trees)

    monkeypatch.setattr(copies, "taken_over", counting)
    model = mlp_model()
    no.fit(model, splits(), **how(epochs=3))
    assert len(taken) == 1
    assert all(np.isfinite(a).all() for a in weights(model))  # the caller's is not consumed

    held = []

    def another(run, event):
        if isinstance(event, no.EpochEnded) and event.epoch == 1:
            run.state = no.copied(run.state)
            held.append(run.state)

    result = no.fit(model, splits(), callbacks=[another], **how(epochs=3))
    assert len(taken) == 3
    assert all(np.isfinite(a).all() for a in weights(held[0].model))  # nor is what a callback keeps
    assert_same(result.state, no.fit(model, splits(), **how(epochs=3)).state)
