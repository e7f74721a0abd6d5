"""The share of an epoch that is spent outside the compiled training step."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import noprop_ode as no
from noprop_ode.data import Augmentation, Dataset, DatasetError, Splits, batches, load

from ._goals import Goal
from ._measure import Samples, Seconds, alternating, compared, rounded, timed
from ._models import BATCH, ct, field, optimiser, training
from ._record import Row
from ._text import milliseconds, ratio, table


TITLE = "Input"
_FIT, _STEP, _INPUT = "a step of `fit`", "the compiled step", "a batch alone"


def measure(quick: bool) -> Iterator[Row]:
    """Yields a row per data set; a missing one is reported."""
    size, steps, epochs = (16, 4, 2) if quick else (BATCH, 10, 6)
    augmentation = Augmentation()
    cases = [("digits", None), ("mnist", None), ("cifar10", None), ("cifar10", augmentation)]
    for name, augment in cases[:1] if quick else cases:
        told = name + (", crops and mirror images" if augment else "")
        try:
            whole = load(name, validation=0).train
        except DatasetError as error:
            yield {"set": told, "skipped": str(error)}
            continue
        train = whole.take(np.arange(size * steps))
        yield {"set": told, "batch": size, **_measured(train, augment, size, steps, epochs, quick)}


def _measured(
    train: Dataset, augment: Callable[..., jax.Array] | None, size: int, steps: int, epochs: int, quick: bool
) -> Row:
    height, width, channels = train.image_shape
    model = ct(field((height, width, channels), quick))
    data = jnp.asarray(train.images[:size]), jnp.asarray(train.labels[:size])
    step = training(model, data)
    watch = _Watch(step, steps)
    with tempfile.TemporaryDirectory() as folder:
        no.fit(
            model,
            Splits(train, None, None),
            optimiser=optimiser(model),
            epochs=epochs,
            batch_size=size,
            augment=augment,
            folder=f"{folder}/run",
            callbacks=[watch],
            progress=False,
            checkpoint_seconds=1e9,
        )
    # The first epoch compiles, and so does the first call of the step.
    samples = {name: Samples(found[0], found[1:]) for name, found in ((_FIT, watch.of_fit), (_STEP, watch.of_step))}
    supply = _supply(train, augment, size)
    alone = alternating({_INPUT: lambda: next(supply)}, rounds=epochs - 1, least=0.05)[_INPUT].median()
    return {**compared(samples, _FIT, _STEP), "input_cpu": rounded(alone.cpu), "input_wall": rounded(alone.wall)}


class _Watch:
    """A callback that times the steps of an epoch, and after it as many calls of the compiled step alone."""

    def __init__(self, step: Callable[[], Any], count: int):
        self.step, self.count = step, count
        self.of_fit: list[Seconds] = []
        self.of_step: list[Seconds] = []
        self._began: Seconds | None = None

    def __call__(self, run: no.Run, event: object) -> None:
        now = Seconds(time.perf_counter(), time.process_time())
        match event:
            case no.Stepped() if self._began is None:
                self._began, self._taken = now, 0
            case no.Stepped():
                self._taken += 1
                assert self._began is not None
                wall, cpu = ((b - a) / self._taken for a, b in zip(self._began, now))
                self._last = Seconds(wall, cpu)
            case no.EpochEnded():
                self.of_fit.append(self._last)
                self.of_step.append(timed(self.step, self.count))
                self._began = None
            case _:
                pass


def _supply(train: Dataset, augment: Callable[..., jax.Array] | None, size: int) -> Iterator[Any]:
    """An endless iterator over batches on the device, as `fit` makes them."""
    for epoch in itertools.count():
        for xs, ys in batches(train, size, seed=0, epoch=epoch):
            xs = jnp.asarray(xs)
            yield xs if augment is None else augment(xs, key=jr.key(epoch)), jnp.asarray(ys)


def _there(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if "skipped" not in row]


def _share(row: Row) -> str:
    """The share of making a batch in a whole step, in per cent."""
    return f"{100 * row['input_cpu'] / (row['input_cpu'] + row['cpu_against']):.2g}"


def headline(rows: Sequence[Row]) -> str:
    """The answer in one line."""
    return "; ".join(
        f"{row['set']}: `fit` takes {row['ratio'][1]:.2f} times the compiled step (making a batch: {_share(row)} %)"
        for row in _there(rows)
    )


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Nearly all of an epoch is the compiled step."""
    return [
        Goal(
            f"`fit` on {row['set']}, times the compiled step",
            row["ratio"][1],
            1.03,
            held_back=f"{milliseconds(row['cpu'] - row['cpu_against'])} ms a step, of Python and of records",
        )
        for row in _there(rows)
    ]


def section(rows: Sequence[Row]) -> str:
    """The section of the page."""
    heads = ["data", "`fit` / compiled step", "wall clock", "`fit`, ms", "compiled step, ms"]
    heads += ["batch alone, ms", "its share, %"]
    cells = [
        (
            row["set"],
            ratio(row["ratio"]),
            ratio(row["ratio_wall"]),
            milliseconds(row["cpu"]),
            milliseconds(row["cpu_against"]),
            milliseconds(row["input_cpu"]),
            _share(row),
        )
        for row in _there(rows)
    ]
    missing = "".join(f"\n\nNot measured: {row['set']} ({row['skipped']})" for row in rows if "skipped" in row)
    return f"""CT with the paper's network, batch size {_there(rows)[0]["batch"]}. *`fit`* is a step of
[`noprop_ode.fit`][] with a folder: it shuffles the images, makes and augments batches, and writes a record per step;
validation and checkpoints, once per epoch, are left out. *Compiled step* is that step alone, always on the same batch.
*Batch alone* makes batches on the device without any step.

{table(heads, cells)}{missing}"""


def figures(rows: Sequence[Row]) -> Mapping[str, Any]:
    """None: the table says it all."""
    return {}
