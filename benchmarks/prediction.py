"""The cost of a prediction against its network evaluations, compared with a solver that encodes the image at each."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

import noprop_ode as no

from ._figures import logarithmic, panels
from ._measure import alternating, compared, measured
from ._models import CIFAR10, Shape, batch, ct, field
from ._record import Row
from ._text import digits, milliseconds, ratio, table


TITLE = "Prediction"
_AGAIN = "encoding at each step"


def measure(quick: bool) -> Iterator[Row]:
    """Yields a row per number of steps and draws."""
    shape: Shape = (4, 4, 1) if quick else CIFAR10
    num_images, rounds, steps, again = (5, 2, (1, 3), (1, 3)) if quick else (1000, 5, (1, 10, 100, 1000), (1, 4, 16))
    model = ct(field(shape, quick))
    xs = batch(shape, num_images)[0]

    def ours(steps: int, draws: int = 1) -> Callable[[], Any]:
        how = {"start": "noise", "sampler": no.ODE(diffrax.Euler(), steps=steps), "decoder": no.ReadoutDecoder()}
        return lambda: no.predict_log_proba(model, xs, key=jr.key(1), draws=draws, **how)

    @jax.jit
    def encode(xs: jax.Array) -> Any:
        return jax.vmap(model.field.encode)(xs)

    about = {"images": num_images, "shape": list(shape)}
    alone = alternating({"encoding": lambda: encode(xs)}, rounds=rounds)["encoding"]
    yield {**about, "case": "encoding alone", "steps": 0, "draws": 0, **measured(alone)}
    ways = [*((n, 1) for n in steps), (steps[1], 16)]
    samples = alternating({str(way): ours(*way) for way in ways}, rounds=rounds, least=0.0)
    for way in ways:
        found = compared(samples, str(way), str(ways[0]))
        yield {**about, **found, "case": "ours", "steps": way[0], "draws": way[1]}
    for count in again:
        sides = {"ours": ours(count), _AGAIN: functools.partial(_encoding_again, model, xs, count)}
        found = compared(alternating(sides, rounds=3, least=0.0), "ours", _AGAIN)
        yield {**about, "steps": count, "draws": 1, **found, "case": _AGAIN}


@eqx.filter_jit
def _step(model: no.NoPropCT, t: jax.Array, zs: jax.Array, xs: jax.Array, dt: jax.Array) -> jax.Array:
    def one(z: jax.Array, x: jax.Array) -> jax.Array:
        return z + dt * model.velocity(t, z, model.field.encode(x))

    return jax.vmap(one)(zs, xs)


@eqx.filter_jit
def _read(model: no.NoPropCT, zs: jax.Array) -> jax.Array:
    return jax.vmap(lambda z: model.readout(z, model.embedding))(zs)


def _encoding_again(model: no.NoPropCT, xs: jax.Array, steps: int) -> jax.Array:
    """Euler steps as a loop that calls the whole network at each step, on 500 images at a time."""
    found = []
    for first in range(0, len(xs), 500):
        part = xs[first : first + 500]
        zs = jr.normal(jr.key(1), (len(part), model.embedding.dim), jnp.float32)
        for k in range(steps):
            t, dt = (jnp.asarray(value, jnp.float32) for value in (k / steps, 1 / steps))
            zs = _step(model, t, zs, part, dt)
        found.append(_read(model, zs))
    return jnp.concatenate(found)


def _ours(rows: Sequence[Row], draws: int = 1) -> list[Row]:
    return [row for row in rows if row["case"] == "ours" and (row["draws"] == 1) == (draws == 1)]


def headline(rows: Sequence[Row]) -> str:
    """The answer in one line."""
    most = _ours(rows)[-1]
    again = [row for row in rows if row["case"] == _AGAIN][-1]
    return (
        f"{most['steps']} steps take {digits(most['ratio'][1])} times as long as one; {again['steps']} steps "
        f"take {again['ratio'][1]:.2f} times as long as with the image encoded at each step"
    )


def section(rows: Sequence[Row]) -> str:
    """The section of the page."""
    alone = rows[0]
    heads = ["Euler steps", "draws", "ms", "wall clock, ms", "ratio to one step", "compilation, s"]
    cells = [
        (
            row["steps"],
            row["draws"],
            milliseconds(row["cpu"]),
            milliseconds(row["wall"]),
            digits(row["ratio"][1]),
            digits(row["compile_cpu"]),
        )
        for row in [*_ours(rows), *_ours(rows, draws=2)]
    ]
    beside = [
        (row["steps"], ratio(row["ratio"]), milliseconds(row["cpu"]), milliseconds(row["cpu_against"]))
        for row in rows
        if row["case"] == _AGAIN
    ]
    shape = "x".join(map(str, alone["shape"]))
    most, last = _ours(rows)[-1], [row for row in rows if row["case"] == _AGAIN][-1]
    far = most["steps"] * last["cpu_against"] / last["steps"]
    return f"""Prediction of {alone["images"]} images of {shape} by CT with the paper's network: from noise, with the
given number of Euler steps, by the readout. The image is encoded once for all steps and draws, which alone takes
{milliseconds(alone["cpu"])} ms of CPU time; only the cost of the head grows. The compilation time of the first row
includes the image branch, that of the last row the starts of 16 draws.

{table(heads, cells)}

Compared with a loop that calls the whole network on the images at every step, as an ODE solver does if its right-hand
side takes the image:

{table(["Euler steps", "ours / encoding at each step", "ours, ms", "encoding at each step, ms"], beside)}

At its cost per step, {most["steps"]} steps would take {digits(far)} s of CPU time (extrapolated), where ours take
{digits(most["cpu"])} s.

![Time of a prediction against its evaluations of the network](_static/performance/prediction.svg)"""


def figures(rows: Sequence[Row]) -> Mapping[str, Any]:
    """CPU time against evaluations."""
    figure, (axis,) = panels()
    again = [row for row in rows if row["case"] == _AGAIN]
    own = _ours(rows)
    axis.plot([r["steps"] for r in own], [1e3 * r["cpu"] for r in own], "o-", label="one draw")
    many = _ours(rows, draws=2)
    label = f"{many[0]['draws']} draws" if many else ""
    axis.plot([r["steps"] * r["draws"] for r in many], [1e3 * r["cpu"] for r in many], "D", label=label)
    axis.plot([r["steps"] for r in again], [1e3 * r["cpu_against"] for r in again], "s--", label=_AGAIN)
    axis.axhline(1e3 * rows[0]["cpu"], color="k", linestyle=":", label="encoding alone")
    logarithmic(axis)
    axis.set_xlabel("evaluations of the head per image")
    axis.set_ylabel("CPU time, ms")
    axis.legend(fontsize=8)
    return {"prediction": figure}
