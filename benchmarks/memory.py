"""The memory of a training step against the number of solver steps.

NoProp trains at single times, so its training step does not depend on the number of steps at inference. Training
through the solver (a neural ODE) or through all blocks (back-propagation) has to keep something of each step.

    python -m benchmarks.memory

Reports the temporary memory that XLA states for one compiled training step (with the gradient, without the optimiser);
nothing is run. `python -m benchmarks results` writes the tables of docs/results.md from what it keeps.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

import noprop_ode as no

from ._record import RESULTS, Result, Row, machine, read, write
from ._text import table, with_table


RECORDS = RESULTS / "memory.jsonl"
STEPS, BLOCKS = (10, 100, 1000), (1, 2, 4)
_TABLES = {"memory of solver steps": "solver steps", "memory of blocks": "blocks"}


def temporary_mib(model: no.AbstractModel, shape: tuple[int, int, int], batch_size: int) -> float:
    """Temporary memory of the gradient of a batch, in MiB."""

    @eqx.filter_jit
    def gradient(model: no.AbstractModel, xs: Any, ys: Any, key: Any) -> Any:
        return eqx.filter_grad(lambda m: m.batch_loss(xs, ys, key=key).total)(model)

    xs, ys = jnp.zeros((batch_size, *shape), jnp.uint8), jnp.zeros(batch_size, jnp.int32)
    compiled: Any = gradient  # whose type does not say that it can be lowered
    analysis = compiled.lower(model, xs, ys, jr.key(0)).compile().compiled.memory_analysis()
    return analysis.temp_size_in_bytes / 2**20


class EulerScan(no.AbstractSampler):
    """Euler steps as a plain `lax.scan`, whose gradient keeps every intermediate result of every step."""

    steps: int

    @property
    def stochastic(self) -> bool:
        return False

    @property
    def last_step_start(self) -> float:
        return 1 - 1 / self.steps

    def full_evaluations(self, *, t1: float = 1.0) -> float:
        return self.steps

    def sample(self, model: Any, z0: Any, features: Any, *, key: Any, t1: float = 1.0) -> no.Sample:
        def step(z: Any, t: Any) -> tuple[Any, None]:
            return z + model.velocity(t, z, features) / self.steps, None

        z1, _ = jax.lax.scan(step, z0, jnp.arange(self.steps, dtype=jnp.float32) / self.steps)
        one = jnp.ones((), jnp.float32)
        return no.Sample(one, z1, one * self.steps, diffrax.RESULTS.successful)

    def trajectory(self, model: Any, z0: Any, features: Any, ts: Any, *, key: Any) -> Any:
        raise NotImplementedError


def measure(shape: tuple[int, int, int], batch_size: int, steps: Sequence[int], counts: Sequence[int]) -> Iterator[Row]:
    """The memory of each training step: a row for each, and each number of solver steps or blocks."""
    labels = no.OneHot(10)
    field = no.nn.ConvField(shape, 10, 10, dropout=0.0, key=jr.key(0))

    def adjoint(sampler: no.AbstractSampler) -> no.AdjointODE:
        return no.AdjointODE(field, embedding=labels, sampler=sampler, key=jr.key(1))

    def euler(steps: int, method: diffrax.AbstractAdjoint) -> no.AbstractSampler:
        return no.ODE(diffrax.Euler(), steps=steps, adjoint=method)

    def blocks(count: int) -> no.Blocks:
        return no.Blocks(lambda key: no.nn.ConvBlock(shape, 10, 10, dropout=0.0, key=key), count, key=jr.key(0))

    by_steps = {
        "NoProp-CT": lambda n: no.NoPropCT(field, embedding=labels),
        "NoProp-FM": lambda n: no.NoPropFM(field, embedding=labels),
        "neural ODE, back-propagation through every step": lambda n: adjoint(EulerScan(n)),
        "neural ODE, recursive checkpoints": lambda n: adjoint(euler(n, diffrax.RecursiveCheckpointAdjoint())),
        "neural ODE, backsolve adjoint": lambda n: adjoint(euler(n, diffrax.BacksolveAdjoint())),
    }
    by_blocks = {
        "NoProp-DT, one block per step": lambda n: no.NoPropDT(blocks(n), embedding=labels, plan=no.SampledBlock()),
        "NoProp-DT, blocks in turn": lambda n: no.NoPropDT(blocks(n), embedding=labels, plan=no.BlocksInTurn()),
        "NoProp-DT, the gradient of all blocks at once": lambda n: no.NoPropDT(blocks(n), embedding=labels),
        "back-propagation": lambda n: no.Backprop(blocks(n), embedding=labels, key=jr.key(1)),
    }
    for of, rows, numbers in (("solver steps", by_steps, steps), ("blocks", by_blocks, counts)):
        for name, make in rows.items():
            for n in numbers:
                mib = temporary_mib(make(n), shape, batch_size)
                yield {"step": name, "of": of, "number": n, "mib": round(mib, 1)}


def page(text: str, records: Path = RECORDS) -> str:
    """The page with its tables of memory made from the records."""
    result = read(records)
    for name, of in _TABLES.items():
        rows = [] if result is None else [row for row in result.rows if row["of"] == of]
        numbers = list(dict.fromkeys(row["number"] for row in rows))
        mib = {(row["step"], row["number"]): f"{row['mib']:.1f}" for row in rows}
        heads = ["training step", *(f"{n} {of if n > 1 else of.removesuffix('s')}" for n in numbers)]
        steps = dict.fromkeys(row["step"] for row in rows)
        text = with_table(text, name, table(heads, [[step, *(mib[step, n] for n in numbers)] for step in steps]))
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-shape", type=int, nargs=3, default=(28, 28, 1), metavar=("H", "W", "C"))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="solver steps")
    parser.add_argument("--blocks", type=int, nargs="+", default=BLOCKS, help="blocks of DT and back-propagation")
    parser.add_argument("--out", type=Path, default=RECORDS, help="results file")
    args = parser.parse_args()
    height, width, channels = args.image_shape
    rows = []
    for row in measure((height, width, channels), args.batch_size, args.steps, args.blocks):
        rows.append(row)
        print(f"{row['step']}, {row['number']} {row['of']}: {row['mib']} MiB", flush=True)
    about = {"image_shape": list(args.image_shape), "batch_size": args.batch_size, **machine()}
    write(args.out, Result(about, rows))


if __name__ == "__main__":
    main()
