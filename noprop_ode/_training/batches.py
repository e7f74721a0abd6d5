"""The batches of a run."""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from .parallel import Parallel
from .run import Run


class Batches:
    """The batches of a run, which depend only on the seed, the epoch and the step.

    With several processes, each takes its share of every batch, from the same order of all images.
    """

    def __init__(
        self, seed: int, augment: Callable[..., Array] | None, key: Array, parallel: Parallel | None, *, steps: int
    ):
        """**Arguments:** what the batches depend on, and the `steps` of an epoch."""
        self.seed, self.augment, self.key = seed, augment, key
        self.parallel = parallel if jax.process_count() > 1 else None
        self._one_device = parallel is None and jax.process_count() == 1
        self._reader: Any = None
        self._steps = steps
        self._data: Any = None  # the reader's: a callback may have given the run other data

    def rest_of_epoch(self, run: Run) -> Iterator[tuple[Any, Any]]:
        """The remaining batches of the current epoch."""
        epoch, step = run.progress.epoch, run.progress.step
        if self._data is not run.train:
            if run.steps_per_epoch != self._steps:
                raise ValueError(
                    f"The run has other training data now, of {len(run.train.labels)} images; expected as many as make "
                    f"{self._steps} batches of {run.batch_size}, because an epoch is as long as it was."
                )
            self.close()
            self._reader, self._data = self._opened(run), run.train
        for xs, ys in self._reader.epoch(epoch, step - epoch * run.steps_per_epoch):
            if self.augment is not None:
                xs = self._augmented(xs, jr.fold_in(self.key, step))
                ys = ys if self.parallel is None else self.parallel.place_batch(ys.astype("int32"))
            step += 1
            yield xs, ys

    def close(self) -> None:
        """Ends the processes that read ahead, if there are any."""
        if self._reader is not None:
            self._reader.close()

    def _opened(self, run: Run) -> Any:
        from ..data._batches import Batches  # not at the top: the core does not import the data package

        share = slice(None) if self.parallel is None else self.parallel.share(run.batch_size)
        # Images on one device would have to travel from there to the others.
        return Batches(run.train, run.batch_size, seed=self.seed, share=share, resident=self._one_device)

    def _augmented(self, xs: Any, key: Array) -> Array:
        assert self.augment is not None
        if self.parallel is None:
            return self.augment(jnp.asarray(xs), key=key)
        # The whole batch at once, so that what happens to an image does not depend on its process.
        return eqx.filter_jit(self.augment)(self.parallel.place_batch(xs), key=key)
