"""A training step of CT, FM and DT, compared with a supervised step of the same network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax

import noprop_ode as no

from ._goals import Goal
from ._measure import alternating, compared
from ._models import BATCH, BLOCKS, batch, block, ct, dt, field, sets, training
from ._record import Row
from ._text import digits, milliseconds, ratio, table


TITLE = "A training step"
_SUPERVISED, _BLOCK = "a supervised step", "a supervised step of a block"


def measure(quick: bool) -> Iterator[Row]:
    """Yields a row per variant and image shape."""
    rounds, size = (2, 6) if quick else (7, BATCH)
    num_blocks, chained = (2, 2) if quick else (BLOCKS, 4)
    for name, shape in sets(quick).items():
        data, network, labels = batch(shape, size), field(shape, quick), no.OneHot(10)
        sides = {
            _SUPERVISED: training(no.Supervised(network, embedding=labels), data),
            "the same in plain JAX": _plain(network, data),
            "CT": training(ct(network), data),
            "CT, 8 states an image": training(ct(network, states=8), data),
            "FM": training(no.NoPropFM(network, embedding=labels), data),
        }
        samples = alternating(sides, rounds=rounds)
        for case in ("CT", "CT, 8 states an image", "FM", "the same in plain JAX"):
            yield {"set": name, "batch": size, **compared(samples, case, _SUPERVISED)}
        one = block(shape, quick)(jr.key(0))
        chain = no.Blocks(block(shape, quick), chained, key=jr.key(0))
        sides = {
            _BLOCK: training(no.Supervised(one, embedding=labels), data),
            f"DT, {num_blocks} blocks": training(dt(shape, num_blocks, quick), data),
            f"back-propagation through {chained} blocks": training(no.Backprop(chain, embedding=labels), data),
        }
        # A supervised step is repeated: against many blocks a single one would be a small sample.
        samples = alternating(sides, rounds=rounds, least=0.2 if quick else 1.0)
        for (case, _), count in zip(list(sides.items())[1:], (num_blocks, chained)):
            yield {"set": name, "batch": size, **compared(samples, case, _BLOCK, times=count)}


def _plain(network: no.AbstractVectorField, data: tuple[jax.Array, jax.Array]) -> Callable[[], Any]:
    """The supervised step as one would write it without this library."""
    params, static = eqx.partition(network, eqx.is_inexact_array)
    adamw = optax.adamw(1e-3)

    def loss(params: Any, xs: jax.Array, ys: jax.Array) -> jax.Array:
        model = eqx.combine(params, static)
        zero = jnp.zeros(10, jnp.float32)
        logits = jax.vmap(lambda x: model(zero[0], zero, model.encode(x)))(xs)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, ys))

    @eqx.filter_jit(donate="all-except-first")
    def step(data: tuple[jax.Array, jax.Array], state: Any) -> Any:
        params, opt_state = state
        updates, opt_state = adamw.update(jax.grad(loss)(params, *data), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    params = no.copied(params)  # its buffers are donated
    state = [(params, adamw.init(params))]

    def call() -> Any:
        state[0] = step(data, state[0])
        return state[0]

    return call


def headline(rows: Sequence[Row]) -> str:
    """The answer in one line."""
    found = [row for row in rows if row["case"] in ("CT", "FM") or row["case"].startswith("DT")]
    return "; ".join(f"{row['case']}, {row['set']}: {row['ratio'][1]:.2f} times {row['against']}" for row in found)


def goals(rows: Sequence[Row]) -> list[Goal]:
    """DT costs what its blocks cost, and CT and FM what a supervised step costs."""
    return [
        Goal(f"{row['case']}, {row['set']}, times {row['against']}", row["ratio"][1], 1.05, held_back=_HELD_BACK)
        for row in rows
        if row["case"] in ("CT", "FM") or row["case"].startswith("DT")
    ]


_HELD_BACK = "of each block, weights and moments are copied out of the stack of all"


def section(rows: Sequence[Row]) -> str:
    """The section of the page."""
    heads = ["images", "step", "compared with", "ratio", "wall-clock ratio", "ms", "other, ms", "compilation, s"]
    cells = [
        (
            row["set"],
            row["case"].replace("an image", "per image"),
            row["against"],
            ratio(row["ratio"]),
            ratio(row["ratio_wall"]),
            milliseconds(row["cpu"]),
            milliseconds(row["cpu_against"]),
            digits(row["compile_cpu"]),
        )
        for row in rows
    ]
    return f"""The paper's networks without dropout, AdamW, batches of {rows[0]["batch"]} random images. All steps use
[`noprop_ode.train`][], except the one in plain JAX: the supervised step written by hand with JAX and optax, on the
whole batch at once. It shows what the library's loop costs, and what a CPU gains from taking a batch in parts and from
convolutions on all cores. [`noprop_ode.Supervised`][] trains the same network on the same batch, without denoising. DT
is compared with as many supervised steps as it has blocks, and so is [`noprop_ode.Backprop`][], which trains its blocks
through each other.

{table(heads, cells)}"""


def figures(rows: Sequence[Row]) -> Mapping[str, Any]:
    """None: the table says it all."""
    return {}
