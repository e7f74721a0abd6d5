"""How the cost of a step grows with blocks, classes, solver steps, batch size and image size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import diffrax
import jax.random as jr

import noprop_ode as no

from ._figures import logarithmic, panels
from ._measure import alternating, compared
from ._models import BATCH, MNIST, Shape, batch, ct, dt, field, training
from ._record import Row
from ._text import digits, milliseconds, ratio, table


TITLE = "Growth"
_SMALL_BATCH = 32

Make = Callable[[int, bool], Callable[[], Any]]


def _blocks(count: int, quick: bool) -> Callable[[], Any]:
    shape = _shape(quick)
    return training(dt(shape, count, quick), batch(shape, _size(quick)))


def _classes(count: int, quick: bool) -> Callable[[], Any]:
    shape = _shape(quick)
    return training(ct(field(shape, quick, count), count), batch(shape, _size(quick), count))


def _steps(count: int, quick: bool) -> Callable[[], Any]:
    shape = _shape(quick)
    model, xs = ct(field(shape, quick)), batch(shape, BATCH)[0]
    how = {"start": "noise", "sampler": no.ODE(diffrax.Euler(), steps=count), "decoder": no.ReadoutDecoder()}
    return lambda: no.predict_log_proba(model, xs, key=jr.key(1), **how)


def _images(count: int, quick: bool) -> Callable[[], Any]:
    shape = _shape(quick)
    return training(ct(field(shape, quick)), batch(shape, count))


def _side(count: int, quick: bool) -> Callable[[], Any]:
    shape = (count, count, 1)
    return training(ct(field(shape, quick)), batch(shape, _size(quick)))


def _shape(quick: bool) -> Shape:
    return (4, 4, 1) if quick else MNIST


def _size(quick: bool) -> int:
    return 6 if quick else _SMALL_BATCH


# For each axis: the function that makes a call, the values, and those of a smoke run.
_AXES: dict[str, tuple[Make, Sequence[int], Sequence[int]]] = {
    "blocks of DT": (_blocks, (1, 4, 16, 40), (1, 2)),
    "classes": (_classes, (10, 100, 1000), (2, 3)),
    "Euler steps of a prediction": (_steps, (1, 10, 100, 1000), (1, 3)),
    "images in a batch": (_images, (16, 64, 256, 1024), (4, 8)),
    "side of an image": (_side, (28, 36, 48, 64), (4, 6)),
}


def measure(quick: bool) -> Iterator[Row]:
    """Yields a row per value of each axis, compared with the first value."""
    for axis, (make, values, few) in _AXES.items():
        chosen = few if quick else values
        sides = {str(value): make(value, quick) for value in chosen}
        samples = alternating(sides, rounds=2 if quick else 3, least=0.0)
        for value in chosen:
            yield {"axis": axis, "value": value, **compared(samples, str(value), str(chosen[0]))}


def _of(rows: Sequence[Row], axis: str) -> list[Row]:
    return [row for row in rows if row["axis"] == axis]


def headline(rows: Sequence[Row]) -> str:
    """The answer in one line."""
    lasts = [_of(rows, axis)[-1] for axis in _AXES]
    return "; ".join(
        f"{row['axis']}, {row['against']} to {row['value']}: {digits(row['ratio'][1])} times the time" for row in lasts
    )


def section(rows: Sequence[Row]) -> str:
    """The section of the page."""
    heads = ["what grows", "value", "ms", "ratio to the first", "compilation, s"]
    cells = [
        (row["axis"], row["value"], milliseconds(row["cpu"]), ratio(row["ratio"]), digits(row["compile_cpu"]))
        for row in rows
    ]
    return f"""One quantity grows at a time, with the paper's networks on grey images of 28x28 pixels: training steps at
batch size {_SMALL_BATCH}, of DT for the blocks and of CT with one-hot labels for the rest; for the Euler steps,
predictions of {BATCH} images. The values of one quantity alternate. The dotted lines have slope one; for the side of an
image, slope two, because the number of pixels is the square of the side. The first prediction also compiles the image
branch, which the others then reuse.

{table(heads, cells)}

![How the cost grows with blocks, classes, solver steps, batch and side](_static/performance/growth.svg)"""


def figures(rows: Sequence[Row]) -> Mapping[str, Any]:
    """A plot per axis."""
    figure, axes = panels(len(_AXES), rows=2, height=4.4)
    for axis, name in zip(axes, _AXES):
        own = _of(rows, name)
        values, costs = [row["value"] for row in own], [1e3 * row["cpu"] for row in own]
        axis.plot(values, costs, "o-", markersize=3)
        slope = 2 if name == "side of an image" else 1
        axis.plot(values, [costs[0] * (value / values[0]) ** slope for value in values], "k:", linewidth=1)
        logarithmic(axis)
        axis.set_xticks(values, [str(value) for value in values])
        axis.tick_params(labelsize=7)
        axis.tick_params(axis="x", which="minor", length=0)
        axis.set_xlabel(name, fontsize=8)
        axis.set_ylabel("CPU time, ms", fontsize=8)
    return {"growth": figure}
