"""Batches that are made while the device computes."""

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
    for _, metrics in steps(state(), told(seen)):
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
    for train in (no.train, steps):
        *_, (end, _) = train(state(), told([]), steps_per_call=steps_per_call)
        ends.append(jax.tree.leaves(eqx.filter(end.model, eqx.is_array)))
    for expected, found in zip(*ends, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_error_of_a_batch_costs_no_step_before_it():
    done = []
    with pytest.raises(OSError, match="the disk is gone"):
        for _, metrics in steps(state(), told([], OSError("the disk is gone"))):
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


def test_images_that_stay_on_the_device_are_the_same_batches(monkeypatch):
    splits = no.data.from_arrays(*blobs(40), validation=0)
    seen, weights = [], []
    for resident in (False, True):
        monkeypatch.setattr(_batches, "fit_on_device", lambda images, there=resident: there)

        def augment(xs, *, key):
            seen.append(isinstance(xs, jax.Array) and xs.dtype == splits.train.images.dtype)
            return xs

        def reader_kind(run, event):
            if isinstance(event, no.Stepped):
                weights.append(jax.device_get(jax.tree.leaves(eqx.filter(run.state.model, eqx.is_array))))

        no.fit(
            mlp_model(),
            splits,
            optimiser=adam(),
            epochs=2,
            batch_size=8,
            augment=augment,
            callbacks=[reader_kind],
            progress=False,
        )
    half = len(weights) // 2
    assert half == 10 and all(seen)
    for host, device in zip(weights[:half], weights[half:], strict=True):
        for a, b in zip(host, device, strict=True):
            np.testing.assert_array_equal(a, b)


def test_images_stay_on_an_accelerator_that_has_room_for_them(monkeypatch):
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 8000}

    images = np.zeros((10, 10, 10, 1), np.uint8)
    assert not _batches.fit_on_device(images), "a CPU"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert _batches.fit_on_device(images)
    assert not _batches.fit_on_device(np.zeros((11, 10, 10, 1), np.uint8)), "too large"
    assert not _batches.fit_on_device(images.astype(np.float32)), "checked batch by batch, on the host"
