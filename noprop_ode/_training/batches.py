"""The batches of a run."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from .run import Run


class Batches:
    """The batches of a run, which depend on the seed, the epoch and the step alone."""

    def __init__(self, seed: int, augment: Callable[..., Array] | None, key: Array):
        self.seed, self.augment, self.key = seed, augment, key

    def rest_of_epoch(self, run: Run) -> Iterator[tuple[Any, Any]]:
        """What is left of the epoch that the run is in."""
        from ..data import batches  # not at the top: the core does not bring the data package along

        epoch, step = run.progress.epoch, run.progress.step
        found = batches(run.train, run.batch_size, seed=self.seed, epoch=epoch)
        for xs, ys in itertools.islice(found, step - epoch * run.steps_per_epoch, None):
            if self.augment is not None:
                xs = self.augment(jnp.asarray(xs), key=jr.fold_in(self.key, step))
            step += 1
            yield xs, ys
