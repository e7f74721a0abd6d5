"""The cost of the number of blocks in DT: peak memory, compilation time and time of a training step."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np

import noprop_ode as no

from ._figures import panels
from ._goals import Goal
from ._measure import rounded, timed
from ._models import BATCH, MNIST, Shape, batch, block, dt, optimiser, training
from ._record import ROOT, Row
from ._text import digits, table


TITLE = "The number of blocks"
_CALLS, _PROGRAM = "a call for each block", "one program of all blocks"


def measure(quick: bool) -> Iterator[Row]:
    """Yields a row per number of blocks, each from its own process, because a process has one memory peak."""
    cases = [(n, _CALLS) for n in ((1, 2) if quick else (1, 4, 10, 40))]
    for num_blocks, how in [*cases, *([] if quick else [(4, _PROGRAM)])]:
        arguments = json.dumps({"num_blocks": num_blocks, "how": how, "quick": quick})
        command = [sys.executable, "-m", "benchmarks.blocks_memory", arguments]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
        yield json.loads(output.splitlines()[-1])


def _of_one(num_blocks: int, how: str, quick: bool) -> Row:
    """The measurement of one process."""
    shape: Shape = (4, 4, 1) if quick else MNIST
    size = 6 if quick else BATCH
    data = batch(shape, size)
    call = training(dt(shape, num_blocks, quick), data) if how == _CALLS else _one_program(shape, num_blocks, data)
    first, *times = [timed(call) for _ in range(3)]
    wall, cpu = (float(np.median(values)) for values in zip(*times))
    arrays = jax.tree.leaves(eqx.filter(block(shape, quick)(jr.key(0)), eqx.is_inexact_array))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {
        "case": how,
        "blocks": num_blocks,
        "batch": size,
        "cpu": rounded(cpu),
        "wall": rounded(wall),
        "compile_cpu": rounded(first.cpu - cpu),
        "compile_wall": rounded(first.wall - wall),
        "peak_mib": rounded(peak),
        "weights_mib": rounded(num_blocks * sum(a.nbytes for a in arrays) / 2**20),
    }


def _one_program(shape: Shape, num_blocks: int, data: Any) -> Any:
    """The library's pure step, compiled as one program, as a user's own loop would."""
    model = dt(shape, num_blocks, quick=False)
    step = eqx.filter_jit(lambda data, state: no.train_step(state, *data)[0], donate="all-except-first")
    state = [no.TrainState.create(model, optimiser(model), key=jr.key(1))]

    def call() -> Any:
        state[0] = step(data, state[0])
        return state[0]

    return call


def _apart(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["case"] == _CALLS]


def _growth(row: Row, one: Row) -> float:
    """Peak memory per additional block, in units of its weights."""
    return (row["peak_mib"] - one["peak_mib"]) / (row["weights_mib"] - one["weights_mib"])


def headline(rows: Sequence[Row]) -> str:
    """The answer in one line."""
    one, *_, most = _apart(rows)
    return (
        f"with {most['blocks']} blocks, each one after the first adds {_growth(most, one):.1f} times its weights to "
        f"peak memory; compilation takes {most['compile_cpu'] / one['compile_cpu']:.2f} times as long as for one block"
    )


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Training takes the memory of one block, and for each further one what belongs to it."""
    one, *_, most = _apart(rows)
    held = "beside weights and two moments, what the allocator leaves empty between them while the step runs"
    what = f"memory of each further block, {most['blocks']} blocks, times its weights"
    return [Goal(what, _growth(most, one), 4, held_back=held)]


def section(rows: Sequence[Row]) -> str:
    """The section of the page."""
    one = _apart(rows)[0]
    heads = ["blocks", "step", "peak memory, MiB", "weights, MiB", "memory of an additional block / its weights"]
    heads += ["compilation, s", "step, s", "step per block, ms"]
    cells = [
        (
            row["blocks"],
            row["case"],
            f"{row['peak_mib']:.0f}",
            f"{row['weights_mib']:.0f}",
            f"{_growth(row, one):.1f}" if row["blocks"] > 1 else "",
            digits(row["compile_cpu"]),
            digits(row["cpu"]),
            digits(1e3 * row["cpu"] / row["blocks"]),
        )
        for row in rows
    ]
    return f"""A DT step with the paper's blocks at batch size {one["batch"]}, on images of the size of MNIST, with
AdamW. Each row is its own process. [`noprop_ode.train`][] trains the blocks one after another through one compiled
function. An additional block is therefore not compiled again and keeps no intermediate results: it adds its weights,
and two moments, plus what the allocator leaves empty between them while the step runs. [`noprop_ode.fit`][] also
holds the model that it was given, which stays as it was. *One program* is [`noprop_ode.train_step`][] under one `jit`,
which compiles all blocks; its additional blocks are counted from the row of one block.

{table(heads, cells)}

![Peak memory and compilation against the number of blocks](_static/performance/blocks_memory.svg)"""


def figures(rows: Sequence[Row]) -> Mapping[str, Any]:
    """Memory and compilation against the number of blocks."""
    figure, (memory, compilation) = panels(2)
    own = _apart(rows)
    blocks = [row["blocks"] for row in own]
    one = own[0]
    memory.plot(blocks, [row["peak_mib"] for row in own], "o-", label="measured")
    three = [one["peak_mib"] + 3 * (row["weights_mib"] - one["weights_mib"]) for row in own]
    memory.plot(blocks, three, "k:", label="weights and two moments")
    memory.set_ylabel("peak memory of the process, MiB")
    compilation.plot(blocks, [row["compile_cpu"] for row in own], "o-", label=_CALLS)
    whole = [row for row in rows if row["case"] == _PROGRAM]
    compilation.plot([r["blocks"] for r in whole], [r["compile_cpu"] for r in whole], "s", label=_PROGRAM)
    compilation.set_ylabel("compilation, s of CPU time")
    for axis in (memory, compilation):
        axis.set_ylim(bottom=0)
        axis.set_xlabel("blocks")
        axis.legend(fontsize=8)
    return {"blocks_memory": figure}


if __name__ == "__main__":
    no.keep_freed_memory()
    print(json.dumps(_of_one(**json.loads(sys.argv[1]))))
