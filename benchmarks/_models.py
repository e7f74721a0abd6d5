"""The models that several benchmarks train: the paper's networks, on images of the size of a data set."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import noprop_ode as no


Shape = tuple[int, int, int]
MNIST: Shape = (28, 28, 1)
CIFAR10: Shape = (32, 32, 3)
SETS = {"MNIST": MNIST, "CIFAR-10": CIFAR10}
TINY: dict[str, Shape] = {"tiny": (4, 4, 1)}  # for a smoke run
BATCH = 128
BLOCKS = 10  # of the paper's NoProp-DT


def sets(quick: bool) -> dict[str, Shape]:
    """The image shapes to measure with."""
    return TINY if quick else SETS


def batch(shape: Shape, size: int, classes: int = 10) -> tuple[jax.Array, jax.Array]:
    """Random images and labels."""
    rng = np.random.default_rng(0)
    xs = rng.integers(0, 256, (size, *shape), dtype=np.uint8)
    return jnp.asarray(xs), jnp.asarray(rng.integers(0, classes, size, dtype=np.int32))


def field(shape: Shape, quick: bool, classes: int = 10) -> no.AbstractVectorField:
    """The paper's network for continuous time; for a smoke run, a small one that compiles quickly."""
    if quick:
        return no.nn.MLPField(shape, classes, classes, width=8, time_size=4, key=jr.key(0))
    return no.nn.ConvField(shape, classes, classes, dropout=0.0, key=jr.key(0))


def block(shape: Shape, quick: bool) -> Callable[[jax.Array], no.AbstractVectorField]:
    """A function that makes one block of the paper's NoProp-DT; for a smoke run, a small one."""

    def make(key: jax.Array) -> no.AbstractVectorField:
        if quick:
            return no.nn.MLPField(shape, 10, 10, width=8, time_size=4, key=key)
        return no.nn.ConvBlock(shape, 10, 10, dropout=0.0, key=key)

    return make


def ct(network: no.AbstractVectorField, classes: int = 10, states: int = 1) -> no.NoPropCT:
    """NoProp-CT as in our recipes, trained on the cross-entropy of its denoiser, with `states` states per image."""
    how = {"objective": no.CrossEntropy(), "states_per_image": states}
    return no.NoPropCT(network, embedding=no.OneHot(classes), **how)


def dt(shape: Shape, num_blocks: int, quick: bool) -> no.NoPropDT:
    """NoProp-DT with `num_blocks` blocks."""
    blocks = no.Blocks(block(shape, quick), num_blocks, key=jr.key(0))
    return no.NoPropDT(blocks, embedding=no.OneHot(10), objective=no.CrossEntropy())


def optimiser(model: no.AbstractModel) -> optax.GradientTransformation:
    """AdamW; for independent blocks, applied to each separately."""
    adamw = optax.adamw(1e-3)
    return adamw if model.independent_blocks is None else no.blockwise(adamw)


def training(model: no.AbstractModel, data: tuple[jax.Array, jax.Array]) -> Callable[[], Any]:
    """A function that takes the next training step on one batch, with the library's own loop."""
    steps: Iterator[Any] = no.train(
        no.TrainState.create(model, optimiser(model), key=jr.key(1)), iter(lambda: data, None)
    )
    return lambda: next(steps)
