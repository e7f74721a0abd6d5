"""Batches that are made while the device computes."""

import functools
import gc
import weakref
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
import pytest
from helpers import adam, blobs, mlp_model

import noprop_ode as no
from noprop_ode._training.ahead import Ahead
from noprop_ode._training.generator import steps
from noprop_ode.data import _batches


def told(seen, error=None):
    """Three batches, of which `seen` hears as they are made; then the error, if there is one."""
    for number in range(3):
        seen.append(f"batch {number}")
        yield blobs(8, seed=number)
    if error is not None:
        raise error


def state():
    return no.TrainState.create(mlp_model(), adam(), key=jr.key(0))


def test_a_batch_is_made_before_the_step_before_it_is_yielded():
    seen = []
    for _, metrics in steps(state(), told(seen), own=False):
        seen.append(f"step {int(metrics.step)}")
    assert seen == ["batch 0", "batch 1", "step 1", "batch 2", "step 2", "step 3"]


def test_train_takes_a_batch_only_when_it_is_asked_for_the_next_step():
    # Whoever stops after some steps, and goes on with the same batches, misses none.
    seen, batches = [], told([])
    for _, metrics in no.train(state(), told(seen)):
        seen.append(f"step {int(metrics.step)}")
    assert seen == ["batch 0", "step 1", "batch 1", "step 2", "batch 2", "step 3"]
    for found, _ in no.train(state(), batches):
        break
    assert [int(metrics.step) for _, metrics in no.train(found, batches)] == [2, 3]


@pytest.mark.parametrize("steps_per_call", [1, 3])
def test_batches_made_ahead_change_nothing(steps_per_call):
    ends = []
    for train in (no.train, functools.partial(steps, own=False)):
        *_, (end, _) = train(state(), told([]), steps_per_call=steps_per_call)
        ends.append(jax.tree.leaves(eqx.filter(end.model, eqx.is_array)))
    for expected, found in zip(*ends, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_error_of_a_batch_costs_no_step_before_it():
    done = []
    with pytest.raises(OSError, match="the disk is gone"):
        for _, metrics in steps(state(), told([], OSError("the disk is gone")), own=False):
            done.append(int(metrics.step))
    assert done == [1, 2, 3]


def test_what_is_made_ahead_comes_once_and_in_order():
    ahead = Ahead(iter([1, 2, 3]))
    ahead.make()
    ahead.make()
    assert next(ahead) == 1
    assert list(ahead) == [2, 3]
    ahead.make()
    assert list(ahead) == []


def fitted(parallel=None):
    """The weights after each step, and how many batches were taken from images on the device."""
    weights, taken, original = [], [], _batches._taken
    splits = no.data.from_arrays(*blobs(40), validation=0)

    def keep(run, event):
        if isinstance(event, no.Stepped):
            weights.append(jax.device_get(jax.tree.leaves(eqx.filter(run.state.model, eqx.is_array))))

    how = {"epochs": 2, "batch_size": 8, "callbacks": [keep], "parallel": parallel, "progress": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_batches, "_taken", lambda *images: taken.append(None) or original(*images))
        no.fit(mlp_model(), splits, optimiser=adam(), **how)
    return weights, len(taken)


def test_images_that_stay_on_the_device_are_the_same_batches(monkeypatch):
    host, taken = fitted()
    assert taken == 0 and len(host) == 10
    monkeypatch.setattr(_batches, "fit_on_device", lambda images: True)
    device, taken = fitted()
    assert taken == 10
    for before, after in zip(host, device, strict=True):
        for a, b in zip(before, after, strict=True):
            np.testing.assert_array_equal(a, b)
    assert fitted(no.Parallel())[1] == 0, "from one device to all others they would travel"


def test_images_stay_on_an_accelerator_that_has_room_for_them(monkeypatch, tmp_path):
    images = np.zeros((10, 10, 10, 1), np.uint8)
    assert not _batches.fit_on_device(images), "a CPU"
    device = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 8000})
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(_batches, "jnp", SimpleNamespace(zeros=lambda shape: SimpleNamespace(devices=lambda: [device])))
    assert _batches.fit_on_device(images)
    assert not _batches.fit_on_device(np.zeros((11, 10, 10, 1), np.uint8)), "too large"
    assert not _batches.fit_on_device(images.astype(np.float32)), "checked batch by batch, on the host"
    np.save(tmp_path / "images.npy", images)
    assert not _batches.fit_on_device(np.load(tmp_path / "images.npy", mmap_mode="r")), "on disk"


@pytest.mark.parametrize("ahead, most", [(False, 0), (True, 1)])
def test_no_more_batches_are_on_the_device_than_are_made_ahead(ahead, most):
    """Of images of a size that nothing else has."""
    shape = (8, 3, 5, 1)
    made = ((np.full(shape, 0.5, np.float32), blobs(8)[1]) for _ in range(4))
    start = no.TrainState.create(mlp_model(image_shape=shape[1:]), adam(), key=jr.key(0))
    for _ in steps(start, made, ahead=ahead, own=False):
        gc.collect()
        assert sum(array.shape == shape for array in jax.live_arrays()) <= most


def test_training_does_not_hold_the_state_it_began_with():
    """Of a large model it would take the memory of two."""
    states = [state()]
    first = weakref.ref(jax.tree.leaves(eqx.filter(states[0].opt_state, eqx.is_array))[-1])
    running = no.train(states.pop(), told([]))
    next(running)
    gc.collect()
    assert first() is None
