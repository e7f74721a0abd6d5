"""Memory and speed of an epoch on streamed images, compared with the same images in memory.

    python benchmarks/streaming.py

Writes a data set to a temporary folder as TFDS does, and trains a small network on it for an epoch in separate
processes: in memory, and streamed with 0, 1 and 2 workers. Each process may allocate at most `--allowed` MiB beyond
what it holds once everything is imported (RLIMIT_DATA). That is less than the decoded images take, so the one in memory
fails; it is also measured without the limit. Prints the growth of its peak memory (RSS), the whole memory of the
largest worker, and the images per second without compilation.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import noprop_ode as no
from noprop_ode.data.prepare._archives import Contents
from noprop_ode.data.prepare._write import write_folder


MIB = 2**20


def write(folder: Path, count: int, side: int) -> None:
    """Writes a data set of distinct images, which are overlapping pieces of one strip, so that they take no memory."""
    size, rng = side * side * 3, np.random.default_rng(0)
    images, labels = {}, {}
    for split, n in (("train", count), ("test", 1000)):
        strip = np.cumsum(rng.integers(-1, 2, size + 30 * n), dtype=np.int64).astype(np.uint8)
        images[split] = np.lib.stride_tricks.as_strided(strip, (n, side, side, 3), (30, 3 * side, 3, 1))
        labels[split] = {"label": (np.arange(n) % 10).astype(np.uint8)}
    final = folder / "large" / "1.0.0"
    final.parent.mkdir(parents=True)
    write_folder("large", Contents({"label": tuple("0123456789")}, images, labels, has_ids=False), final)


def status(name: str) -> float:
    """A memory figure of this process, in MiB: `VmHWM` is its peak RSS, `VmData` its private memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def child(folder: Path, workers: int | None, allowed: float, batch_size: int) -> dict[str, Any]:
    """One epoch, in a process that does nothing else."""
    # The readers' threads count as allocated memory, 8 MiB each: they start before the limit is set.
    jnp.zeros(1).block_until_ready()
    no.data.load("large", data_dir=folder, stream=True).train.images[:batch_size]
    before = status("VmHWM")
    if allowed:
        limit = int((status("VmData") + allowed) * MIB)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    began = time.perf_counter()
    splits = no.data.load("large", data_dir=folder, stream=workers is not None, workers=workers or 0)
    loaded = time.perf_counter() - began
    field = no.nn.MLPField(splits.train.image_shape, 10, 10, width=16, time_size=8, key=jr.key(0))
    model = no.NoPropCT(field, embedding=no.OneHot(10))
    found = no.fit(
        model, splits, optimiser=optax.adam(1e-3), epochs=1, batch_size=batch_size, progress=False, validate_every=1
    )
    return {
        "load_seconds": loaded,
        "growth": status("VmHWM") - before,
        "worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "speed": found.images_per_second,
        "steps": found.progress.step,
        "weights": float(sum(jnp.abs(a).sum() for a in jax.tree.leaves(eqx.filter(found.model, eqx.is_inexact_array)))),
    }


def measure(*arguments: str, cache: Path) -> dict[str, Any] | str:
    """The result of a process, or how it failed."""
    try:
        done = subprocess.run(
            [sys.executable, __file__, *arguments],
            env={**os.environ, "NOPROP_ODE_CACHE": str(cache)},
            capture_output=True,
            text=True,
            timeout=600,
        )
    except subprocess.TimeoutExpired:
        return "did not end"  # C++ code that is refused memory may wait forever
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    return f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1][:120]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=25_000, help="training images")
    parser.add_argument("--side", type=int, default=96, help="their height and width")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--allowed", type=float, default=600.0, help="MiB that a process may allocate")
    parser.add_argument("--child", nargs=3, metavar=("FOLDER", "WORKERS", "ALLOWED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        folder, workers, allowed = args.child
        known = None if workers == "memory" else int(workers)
        print(json.dumps(child(Path(folder), known, float(allowed), args.batch_size)))
        return
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), args.count, args.side)
        on_disk = sum(f.stat().st_size for f in Path(name).rglob("*") if f.is_file()) / MIB
        decoded = args.count * args.side**2 * 3 / MIB
        print(f"{args.count} images of {args.side}x{args.side}x3: {decoded:.0f} MiB decoded, {on_disk:.0f} MiB on disk")
        print(f"batch size {args.batch_size}, jax {jax.__version__}, {os.cpu_count()} cores")
        print("| images | allowed, MiB | loading, s | memory grew by, MiB | largest worker, MiB | images/s | weights |")
        print("|---" * 7 + "|")
        modes = [("memory", args.allowed), ("memory", 0.0), *((str(n), args.allowed) for n in (0, 1, 2))]
        for workers, allowed in modes:
            batch = ("--batch-size", str(args.batch_size))
            found = measure("--child", name, workers, str(allowed), *batch, cache=Path(name) / "cache")
            what = "in memory" if workers == "memory" else f"streamed, {workers} workers"
            if isinstance(found, str):
                print(f"| {what} | {allowed:.0f} | {found} | | | | |", flush=True)
                continue
            helper = f"{found['worker']:.0f}" if workers not in ("memory", "0") else ""
            print(
                f"| {what} | {f'{allowed:.0f}' if allowed else 'no limit'} | {found['load_seconds']:.1f} | "
                f"{found['growth']:.0f} | {helper} | {found['speed']:.0f} | {found['weights']:.6f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
