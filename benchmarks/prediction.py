"""The cost of a prediction against its network evaluations, beside loops that encode the image at each or once."""

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
_AGAIN, _ONCE = "encoding at each step", "encoding once"


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
    for count in (steps[0], steps[-1]):
        sides = {"ours": ours(count), _ONCE: functools.partial(_encoding_once, model, xs, count)}
        found = compared(alternating(sides, rounds=rounds, least=0.0), "ours", _ONCE)
        yield {**about, "steps": count, "draws": 1, **found, "case": _ONCE}


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


def _encoding_once(model: no.NoPropCT, xs: jax.Array, steps: int) -> jax.Array:
    """The same in plain JAX, as one writes it who knows better: a program that encodes, then loops over the head."""
    parts = [xs[first : first + 500] for first in range(0, len(xs), 500)]
    return jnp.concatenate([_loop(model, part, steps) for part in parts])


@eqx.filter_jit
def _loop(model: no.NoPropCT, xs: jax.Array, steps: int) -> jax.Array:
    features = jax.vmap(model.field.encode)(xs)
    zs = jr.normal(jr.key(1), (len(xs), model.embedding.dim), jnp.float32)

    def step(k: jax.Array, zs: jax.Array) -> jax.Array:
        t = k.astype(jnp.float32) / steps
        return zs + jax.vmap(functools.partial(model.velocity, t))(zs, features) / steps

    return jax.vmap(lambda z: model.readout(z, model.embedding))(jax.lax.fori_loop(0, steps, step, zs))


def _ours(rows: Sequence[Row], draws: int = 1) -> list[Row]:
    return [row for row in rows if row["case"] == "ours" and (row["draws"] == 1) == (draws == 1)]


def headline(rows: Sequence[Row]) -> str:
    """The answer in one line."""
    most = _ours(rows)[-1]
    again, once = ([row for row in rows if row["case"] == case][-1] for case in (_AGAIN, _ONCE))
    return (
        f"{most['steps']} steps take {digits(most['ratio'][1])} times as long as one, and {once['ratio'][1]:.2f} times "
        f"as long as a loop in plain JAX; {again['steps']} steps take {again['ratio'][1]:.2f} times as long as with "
        "the image encoded at each step"
    )


def _beside(rows: Sequence[Row], case: str) -> list[tuple[Any, ...]]:
    """Our predictions next to those of another loop."""
    return [
        (row["steps"], ratio(row["ratio"]), milliseconds(row["cpu"]), milliseconds(row["cpu_against"]))
        for row in rows
        if row["case"] == case
    ]


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
    beside = _beside(rows, _AGAIN)
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

Compared with a loop in plain JAX that encodes the image once too, and then repeats the head:

{table(["Euler steps", "ours / encoding once", "ours, ms", "encoding once, ms"], _beside(rows, _ONCE))}

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
