"""What the number of blocks costs in NoProp-DT: compilation, time and memory of a training step and of a prediction.

    python benchmarks/blocks.py step --blocks 1 10 40
    python benchmarks/blocks.py step --blocks 1 10 --one-program
    python benchmarks/blocks.py ratio --blocks 1 10 40
    python benchmarks/blocks.py predict --blocks 1 10 40

`step` and `predict` take a fresh process for each number of blocks, because a process has one peak of memory. The first
call includes tracing and compilation. `ratio` compares a step of T blocks with T supervised steps of one block, the
same network on the same batch, both sides alternating in one process. Times are CPU times, which other processes
on the machine disturb less than the clock; with `--out` each row is added to a file as JSON.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import noprop_ode as no


SHAPE, BATCH = (28, 28, 1), 128


def batch(size: int) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    xs, ys = rng.integers(0, 256, (size, *SHAPE), dtype=np.uint8), rng.integers(0, 10, size, dtype=np.int32)
    return jnp.asarray(xs), jnp.asarray(ys)


def block(key: jax.Array) -> no.AbstractVectorField:
    return no.nn.ConvBlock(SHAPE, 10, 10, key=key)


def model_of(num_blocks: int) -> no.NoPropDT:
    return no.NoPropDT(no.Blocks(block, num_blocks, key=jr.key(0)), embedding=no.OneHot(10))


def cpu_seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    jax.block_until_ready(call())
    return time.process_time() - start


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def dt_steps(num_blocks: int, optimiser: optax.GradientTransformation, one_program: bool) -> Iterator[Any]:
    """The states after each step on one batch, without end."""
    data = batch(BATCH)

    def start() -> no.TrainState:
        return no.TrainState.create(model_of(num_blocks), no.blockwise(optimiser), key=jr.key(2))

    # The first state is not kept here: what is measured is what training holds.
    if not one_program:
        yield from (state for state, _ in no.train(start(), iter(lambda: data, None)))
    step = eqx.filter_jit(lambda data, state: no.train_step(state, *data)[0], donate="all-except-first")
    state = start()
    while True:
        state = step(data, state)
        yield state


def measure_step(num_blocks: int, rounds: int, one_program: bool) -> dict[str, Any]:
    steps = dt_steps(num_blocks, optax.adamw(1e-3), one_program)
    first, *times = [cpu_seconds(lambda: next(steps)) for _ in range(rounds + 1)]
    return {"first_cpu_seconds": first, "cpu_seconds": float(np.median(times)), "peak_mib": peak_mib()}


def measure_ratio(num_blocks: int, rounds: int) -> dict[str, Any]:
    optimiser = optax.adamw(1e-3)
    steps = dt_steps(num_blocks, optimiser, one_program=False)
    step, state = supervised(optimiser)
    data, ratios, alone = batch(BATCH), [], min(num_blocks, 4)
    for i in range(rounds + 1):

        def one_after_another() -> Any:
            nonlocal state
            for _ in range(alone):
                state = step(data, state)
            return state

        together, apart = cpu_seconds(lambda: next(steps)), cpu_seconds(one_after_another) / alone
        if i > 0:  # compilation
            ratios.append(together / (num_blocks * apart))
    low, mid, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return {"ratio": float(mid), "low": float(low), "high": float(high)}


def supervised(optimiser: optax.GradientTransformation) -> tuple[Callable[..., Any], Any]:
    """A supervised step of one block, and its state."""
    params, static = eqx.partition(block(jr.key(0)), eqx.is_inexact_array)

    def loss(params: Any, xs: Any, ys: Any, key: Any) -> Any:
        network = eqx.combine(params, static)

        def one(x: Any, y: Any, key: Any) -> Any:
            zero = jnp.zeros(10, jnp.float32)
            return -jax.nn.log_softmax(network(zero[0], zero, network.encode(x, key=key)))[y]

        return jnp.mean(jax.vmap(one)(xs, ys, jr.split(key, len(xs))))

    @eqx.filter_jit(donate="all-except-first")
    def step(data: Any, state: Any) -> Any:
        params, opt_state, key = state
        key, step_key = jr.split(key)
        updates, opt_state = optimiser.update(jax.grad(loss)(params, *data, step_key), opt_state, params)
        return optax.apply_updates(params, updates), opt_state, key

    return step, (params, optimiser.init(params), jr.key(3))


def measure_predict(num_blocks: int, rounds: int, num_images: int) -> dict[str, Any]:
    model, xs = model_of(num_blocks), batch(num_images)[0]
    how = {"key": jr.key(1), "prediction": model.paper_prediction}
    first, *times = [cpu_seconds(lambda: no.predict_log_proba(model, xs, **how)) for _ in range(rounds + 1)]
    return {"first_cpu_seconds": first, "cpu_seconds": float(np.median(times)), "peak_mib": peak_mib()}


def measure(args: argparse.Namespace, num_blocks: int) -> dict[str, Any]:
    no.keep_freed_memory()
    how = {"one_program": args.one_program} if args.what == "step" else {}
    match args.what:
        case "step":
            found = measure_step(num_blocks, args.rounds, args.one_program)
        case "ratio":
            found = measure_ratio(num_blocks, args.rounds)
        case _:
            found = measure_predict(num_blocks, args.rounds, args.images)
    weights = sum(a.nbytes for a in jax.tree.leaves(eqx.filter(block(jr.key(0)), eqx.is_inexact_array)))
    where = {"device": jax.devices()[0].device_kind, "cores": len(os.sched_getaffinity(0)), "jax": jax.__version__}
    size = {"weights_mib": num_blocks * weights / 2**20, "rounds": args.rounds}
    return {
        "what": args.what,
        "blocks": num_blocks,
        **how,
        **found,
        **size,
        **where,
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "ratio", "predict"))
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 10, 40])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=500, help="images of a prediction")
    parser.add_argument(
        "--one-program", action="store_true", help="a step as one compiled program, all blocks unrolled"
    )
    parser.add_argument("--out", type=Path, help="add each row to this file, as JSON")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args, args.blocks[0])))
        return
    for num_blocks in args.blocks:
        command = [sys.executable, __file__, args.what, "--here", "--blocks", str(num_blocks)]
        command += ["--rounds", str(args.rounds), "--images", str(args.images)]
        command += ["--one-program"] if args.one_program else []
        line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        print(line, flush=True)
        if args.out is not None:
            with args.out.open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
