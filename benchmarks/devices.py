"""What each device holds, computes and exchanges in a training step, for layouts of eight devices. Nothing is run.

    python benchmarks/devices.py

Taken from the programs that XLA compiles for eight simulated devices: NoProp-DT with eight of the paper's blocks,
one-hot or learned labels, AdamW, a batch of 128 images of 28x28; and NoProp-CT with one such network.
"""

import os
import re
from collections.abc import Iterator
from typing import Any


os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import noprop_ode as no
from noprop_ode._training.by_block import add_block, begin, finish, of_blocks
from noprop_ode._training.generator import _jitted_step


SHAPE, BATCH, BLOCKS = (28, 28, 1), 128, 8
_COLLECTIVE = re.compile(r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+)\[([\d,]*)\]")


def collectives(lowered: Any) -> list[tuple[str, list[int]]]:
    """The collectives of a program: the kind of each, and the bytes of each array that it exchanges."""
    return _exchanged(lowered.compile().compiled)


def _exchanged(program: Any) -> list[tuple[str, list[int]]]:
    found = _COLLECTIVE.findall(program.as_text())
    return [(kind, [_bytes(*array) for array in _ARRAY.findall(shapes)]) for shapes, kind in found]


def _bytes(dtype: str, dims: str) -> int:
    bits = 8 if dtype == "pred" else int(re.sub(r"\D", "", dtype))
    return int(np.prod([int(n) for n in dims.split(",") if n] or [1])) * bits // 8


def dt_model(embedding: no.AbstractLabelEmbedding) -> no.NoPropDT:
    def block(key: jax.Array) -> no.AbstractVectorField:
        return no.nn.ConvBlock(SHAPE, 10, embedding.dim, key=key)

    return no.NoPropDT(no.Blocks(block, BLOCKS, key=jr.key(0)), embedding=embedding)


def ct_model() -> no.NoPropCT:
    return no.NoPropCT(no.nn.ConvField(SHAPE, 10, 10, key=jr.key(0)), embedding=no.OneHot(10))


def programs(model: no.AbstractModel, parallel: no.Parallel) -> Iterator[tuple[int, Any]]:
    """The programs of a step, and how often each is called."""
    optimiser = optax.adamw(1e-3)
    optimiser = optimiser if model.independent_blocks is None else no.blockwise(optimiser)
    state = parallel.place(no.TrainState.create(model, optimiser, key=jr.key(1)))
    xs = parallel.place_batch(jnp.zeros((BATCH, *SHAPE), jnp.uint8))
    ys = parallel.place_batch(jnp.zeros(BATCH, jnp.int32))
    if isinstance(state.model, no.NoPropDT):
        inputs, (blocks, rest) = (xs, ys, parallel), of_blocks(state)
        gathered = begin(inputs, state)
        yield BLOCKS // parallel.block, _compiled(add_block, (*inputs, rest), blocks, gathered)
        yield 1, _compiled(begin, inputs, state)
        yield 1, _compiled(finish, parallel, rest, gathered)
    else:
        yield 1, _compiled(_jitted_step, (xs, ys, parallel), state)


def _compiled(function: Any, *arguments: Any) -> Any:
    return function.lower(*arguments).compile().compiled


def held(model: no.AbstractModel, parallel: no.Parallel) -> int:
    """Bytes of weights and of the optimiser's moments on one device."""
    optimiser = optax.adamw(1e-3)
    optimiser = optimiser if model.independent_blocks is None else no.blockwise(optimiser)
    state = parallel.place(no.TrainState.create(model, optimiser, key=jr.key(1)))
    arrays = jax.tree.leaves(eqx.filter(state, eqx.is_inexact_array))
    return sum(a.addressable_shards[0].data.nbytes for a in arrays)


LAYOUTS = {
    "DT, one-hot": (lambda: dt_model(no.OneHot(10)), [{"block": 8}, {"data": 2, "block": 4}, {"data": 8}]),
    "DT, learned labels": (lambda: dt_model(no.LearnedEmbedding(10, 20, key=jr.key(3))), [{"block": 8}]),
    "CT": (ct_model, [{"data": 8}, {"data": 8, "shard_weights": True}]),
}


def main() -> None:
    heads = ["model", "data x block", "MiB held per device", "GFLOP per device and step"]
    print(f"| {' | '.join(heads)} | KiB exchanged for blocks | KiB to begin and end a step |")
    print("|---|---|---|---|---|---|")
    for name, (make, layouts) in LAYOUTS.items():
        for layout in layouts:
            parallel = no.Parallel(**layout)
            found = list(programs(make(), parallel))
            gigaflops = sum(calls * program.cost_analysis()["flops"] for calls, program in found) / 1e9
            exchanged = [
                calls * sum(sum(sizes) for _, sizes in _exchanged(program)) / 2**10 for calls, program in found
            ]
            blocks, end = ([], exchanged[0]) if len(exchanged) == 1 else (exchanged[:1], sum(exchanged[1:]))
            divided = ", weights divided" if parallel.shard_weights else ""
            print(
                f"| {name} | {parallel.data} x {parallel.block}{divided} | {held(make(), parallel) / 2**20:.1f} "
                f"| {gigaflops:.1f} | {f'{blocks[0]:.1f}' if blocks else ''} | {end:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
