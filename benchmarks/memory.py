"""The memory of a training step against the number of solver steps.

NoProp trains at single times, so its training step does not depend on the number of steps at inference. Training
through the solver (a neural ODE) or through all blocks (back-propagation) has to keep something of each step.

    python benchmarks/memory.py

Prints the temporary memory that XLA reports for one compiled training step (with the gradient, without the optimiser);
nothing is run.
"""

import argparse
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

import noprop_ode as no


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-shape", type=int, nargs=3, default=(28, 28, 1), metavar=("H", "W", "C"))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 100, 1000], help="solver steps")
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 2, 4], help="blocks of DT and back-propagation")
    args = parser.parse_args()
    shape, labels = tuple(args.image_shape), no.OneHot(10)
    field = no.nn.ConvField(shape, 10, 10, dropout=0.0, key=jr.key(0))

    def adjoint(sampler: no.AbstractSampler) -> no.AdjointODE:
        return no.AdjointODE(field, embedding=labels, sampler=sampler, key=jr.key(1))

    def euler(steps: int, method: diffrax.AbstractAdjoint) -> no.AbstractSampler:
        return no.ODE(diffrax.Euler(), steps=steps, adjoint=method)

    def blocks(count: int) -> no.Blocks:
        return no.Blocks(lambda key: no.nn.ConvBlock(shape, 10, 10, dropout=0.0, key=key), count, key=jr.key(0))

    rows = {
        "NoProp-CT": lambda n: no.NoPropCT(field, embedding=labels),
        "NoProp-FM": lambda n: no.NoPropFM(field, embedding=labels),
        "neural ODE, back-propagation through every step": lambda n: adjoint(EulerScan(n)),
        "neural ODE, recursive checkpoints": lambda n: adjoint(euler(n, diffrax.RecursiveCheckpointAdjoint())),
        "neural ODE, backsolve adjoint": lambda n: adjoint(euler(n, diffrax.BacksolveAdjoint())),
    }
    print(f"{shape}, batch {args.batch_size}, jax {jax.__version__} on {jax.devices()[0].device_kind}; MiB")
    print("| training step | " + " | ".join(f"{n} solver steps" for n in args.steps) + " |")
    print("|---" * (len(args.steps) + 1) + "|")
    for name, make in rows.items():
        cells = [f"{temporary_mib(make(n), shape, args.batch_size):.1f}" for n in args.steps]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print("\n| training step | " + " | ".join(f"{n} blocks" for n in args.blocks) + " |")
    print("|---" * (len(args.blocks) + 1) + "|")
    by_blocks = {
        "NoProp-DT, one block per step": lambda n: no.NoPropDT(blocks(n), embedding=labels, plan=no.SampledBlock()),
        "NoProp-DT, blocks in turn": lambda n: no.NoPropDT(blocks(n), embedding=labels, plan=no.BlocksInTurn()),
        "NoProp-DT, all blocks": lambda n: no.NoPropDT(blocks(n), embedding=labels),
        "back-propagation": lambda n: no.Backprop(blocks(n), embedding=labels, key=jr.key(1)),
    }
    for name, make in by_blocks.items():
        cells = [f"{temporary_mib(make(n), shape, args.batch_size):.1f}" for n in args.blocks]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
