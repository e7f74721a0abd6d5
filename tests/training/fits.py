"""Runs of `fit` as its tests have them."""

import os
import signal
import types

import equinox as eqx
import jax
import numpy as np
from helpers import adam, blobs

import noprop_ode as no


def splits(n=60, *, images=None):
    xs, ys = blobs(n)
    xs = xs if images is None else images(xs)
    part = types.SimpleNamespace(images=xs, labels=ys)
    held_out = types.SimpleNamespace(images=xs[:12], labels=ys[:12])
    return types.SimpleNamespace(train=part, validation=held_out)


ADAM = adam()  # one object: a step is compiled for each optimiser


def how(**changes):
    return {"optimiser": ADAM, "epochs": 3, "batch_size": 10, "progress": False, **changes}


def weights(model) -> list[np.ndarray]:
    return [np.asarray(a) for a in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))]


def assert_same(a, b) -> None:
    for x, y in zip(weights(a), weights(b), strict=True):
        np.testing.assert_array_equal(x, y)


def stop_at(step: int, number: int = signal.SIGTERM):
    """A callback that sends this process a signal once a step is through."""

    def callback(run, event):
        if isinstance(event, no.Stepped) and run.progress.step == step:
            os.kill(os.getpid(), number)

    return callback
