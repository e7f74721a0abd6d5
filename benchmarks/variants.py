"""Every variant and embedding of the paper on one data set, with its two baselines: one row each, in one table.

    python benchmarks/variants.py run --data mnist --out benchmarks/results/mnist.jsonl
    python benchmarks/variants.py run --data mnist --rows dt/one-hot ct/dim-20 --out ...
    python benchmarks/variants.py page

Each row runs in its own process, so that its peak memory is its own, and adds one line to the results file; `page`
writes the tables of docs/results.md from the files that it names. All training images are used, and the test set once
per row; `--validation 0.1` uses held-out images instead, to choose settings.

The networks are the paper's, without dropout. DT and CT minimise the cross-entropy of the denoiser (CT at times U^3)
plus the readout and prior terms, FM the paper's loss at times U^p. AdamW with weight decay 1e-3; the learning rate
warms up, then follows a cosine; in DT, for each block separately.
"""

import argparse
import dataclasses
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.random as jr
import optax

import noprop_ode as no
from noprop_ode._training.files import write_file
from noprop_ode.data import Dataset, Splits, load


ROOT = Path(__file__).parents[1]
EMBEDDINGS = ("one-hot", "dim-20", "prototype")
ROWS = (*(f"{v}/{e}" for v in ("ct", "fm", "dt") for e in EMBEDDINGS), "adjoint/one-hot", "backprop/one-hot")
BLOCKS = 10


def build(
    variant: str, embedding: str, train_set: Dataset, key: jax.Array, times_power: float = 1.0, states: int = 1
) -> no.AbstractModel:
    """The untrained model of a row."""
    height, width, channels = train_set.image_shape
    shape, classes = (height, width, channels), train_set.num_classes
    scaling: dict[str, Any] = {"mean": train_set.mean, "std": train_set.std, "dropout": 0.0}
    field_key, embedding_key, model_key = jr.split(key, 3)
    labels = {
        "one-hot": lambda: no.OneHot(classes),
        "dim-20": lambda: no.LearnedEmbedding(classes, 20, key=embedding_key),
        "prototype": lambda: no.PrototypeEmbedding(no.prototypes(train_set.images[:], train_set.labels, classes)),
    }[embedding]()

    def branch(key: jax.Array) -> no.nn.ConvLabelBranch | None:
        own = jr.fold_in(key, 202)  # 1 would give the key of the head: the second of `split(key)`
        return no.nn.ConvLabelBranch(shape, key=own) if embedding == "prototype" else None

    def field(key: jax.Array) -> no.AbstractVectorField:
        return no.nn.ConvField(shape, classes, labels.dim, label=branch(key), key=key, **scaling)

    def block(key: jax.Array) -> no.AbstractVectorField:
        return no.nn.ConvBlock(shape, classes, labels.dim, label=branch(key), key=key, **scaling)

    match variant:
        case "ct":
            return no.NoPropCT(
                field(field_key),
                embedding=labels,
                objective=no.CrossEntropy(),
                times=no.PowerTimes(3.0),
                states_per_image=states,
            )
        case "fm":
            return no.NoPropFM(
                field(field_key), embedding=labels, times=no.PowerTimes(times_power), states_per_image=states
            )
        case "dt":
            blocks = no.Blocks(block, BLOCKS, key=field_key)
            return no.NoPropDT(blocks, embedding=labels, objective=no.CrossEntropy(), states_per_image=states, eta=1.0)
        case "adjoint":
            return no.AdjointODE(field(field_key), embedding=labels, key=model_key)
        case _:
            return no.Backprop(no.Blocks(block, BLOCKS, key=field_key), embedding=labels, key=model_key)


def predictions(model: no.AbstractModel, prototypes: bool, steps: int) -> dict[str, no.Prediction]:
    """Predictions by name: the paper's, and for the variants an average over draws and one step from the mean."""
    paper = model.paper_prediction
    if not model.protocols:
        return {"paper": paper}  # the baselines have no other
    if isinstance(paper.sampler, no.ODE):
        paper = paper._replace(sampler=no.ODE(diffrax.Euler(), steps=steps))
    name, several = next((name, p) for name, p in model.protocols.items() if name.endswith("x16"))
    if prototypes:  # convolutions of the state inside the solver
        few = 1 if model.independent_blocks is None else BLOCKS
        sampler = no.ODE(diffrax.Euler(), steps=few) if "euler" in name else no.Ancestral(few, churn=0.0)
        several = several._replace(sampler=sampler, draws=16 if model.independent_blocks is None else 4)
    own = model.default_prediction  # CT's is one step from the mean; the others have that under a name
    mean = next((p for name, p in model.protocols.items() if name in ("mean ddim-1", "mean euler-1")), own)
    return {"paper": paper, "draws": several, "mean": mean}


class Timer:
    """A callback that measures wall-clock and CPU time of training without the first step, which compiles."""

    def __init__(self):
        self.wall = self.cpu = 0.0
        self._began: tuple[float, float] | None = None

    def __call__(self, run: no.Run, event: object) -> None:
        if isinstance(event, no.Stepped):
            now = time.perf_counter(), time.process_time()
            self._began = self._began or now
            self.wall, self.cpu = now[0] - self._began[0], now[1] - self._began[1]


def run_row(row: str, args: argparse.Namespace) -> dict[str, Any]:
    """Trains and evaluates one row as the flags say; returns its record."""
    variant, embedding = row.split("/")
    splits = load(args.data, validation=args.validation, seed=args.seed)
    train_set, held_out = splits.train, splits.validation if args.validation else splits.test
    assert held_out is not None, "every set has a test part"
    first = slice(args.images)
    train_set = dataclasses.replace(train_set, images=train_set.images[first], labels=train_set.labels[first])
    model_key, test_key = jr.split(jr.key(args.seed))
    model = build(variant, embedding, train_set, model_key, args.times_power, args.states)
    epochs = args.block_epochs if variant in ("dt", "backprop") else args.epochs
    rate = no.warmup_cosine(args.learning_rate, epochs * (len(train_set) // args.batch_size))
    timer = Timer()
    result = no.fit(
        model,
        Splits(train_set),
        optimiser=optax.adamw(rate, weight_decay=1e-3),
        learning_rate=rate,
        epochs=epochs,
        batch_size=args.batch_size,
        seed=args.seed,
        callbacks=[timer],
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)

    found = {}
    prototypes = embedding == "prototype"
    ways = predictions(model, prototypes, args.prototype_steps if prototypes else args.steps)
    for protocol, prediction in ways.items():
        how = no.evaluate(result.model, held_out.images, held_out.labels, key=test_key, prediction=prediction)
        found[protocol] = {"accuracy": how.accuracy, "nll": how.nll, "nfe": how.num_evaluations}
        print(row, protocol, found[protocol], file=sys.stderr, flush=True)
    norms = jax.device_get(result.model.embedding.squared_norms()) ** 0.5
    return {
        "row": row,
        "data": args.data,
        "epochs": epochs,
        "images": len(train_set),
        "seed": args.seed,
        "batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        **({"states_per_image": args.states} if variant in ("ct", "fm", "dt") else {}),
        **({"times_power": args.times_power} if variant == "fm" else {}),
        "train_seconds": round(timer.wall, 1),
        "train_cpu_seconds": round(timer.cpu, 1),
        "peak_memory_gib": round(peak, 2),
        "parameters": sum(a.size for a in jax.tree.leaves(eqx.filter(model, no.trainable_mask(model)))),
        "embedding_norms": [round(float(n), 3) for n in (norms.min(), norms.max())],
        "validation" if args.validation else "test": found,
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "jax": jax.__version__,
        "python": platform.python_version(),
    }


def table(path: Path, split: str = "test") -> str:
    """The records of a results file that were evaluated on a split, as a Markdown table."""
    lines = [
        "| row | epochs x images | learning rate | paper's protocol | average of draws | one step from the mean "
        "| seconds (CPU) | GiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        if split not in record:
            continue
        cells = []
        for protocol in ("paper", "draws", "mean"):
            found = record[split].get(protocol)
            cells.append("" if found is None else f"{found['accuracy']:.4f} ({found['nll']:.3g})")
        cost = f"{record['train_seconds']:.0f} ({record['train_cpu_seconds']:.0f})"
        epochs, memory = f"{record['epochs']} x {record['images']:,}", f"{record['peak_memory_gib']:.2f}"
        row = record["row"]
        if (power := record.get("times_power", 1.0)) != 1.0:
            row += f", times U^{power:g}"
        if (batch := record["batch_size"]) != 128:
            row += f", batches of {batch}"
        if (states := record.get("states_per_image", 1)) != 1:
            row += f", {states} states per image"
        steps = record[split]["paper"]["nfe"]
        if row.startswith(("ct/", "fm/")) and steps != (expected := 20 if "prototype" in row else 1000):
            row += f", {steps:g} Euler steps instead of {expected}"
        lines.append(f"| {row} | {epochs} | {record['learning_rate']:g} | {' | '.join(cells)} | {cost} | {memory} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with its tables regenerated, each between a comment that names a results file, and `validation` if its
    rows were evaluated on held-out images, and `<!-- end -->`."""

    def replace(match: re.Match[str]) -> str:
        path, split = match[1], match[2] or "test"
        return f"{match[0].splitlines()[0]}\n{table(ROOT / path, split)}\n<!-- end -->"

    mark = r"<!-- (benchmarks/\S+\.jsonl)(?: (validation))? -->"
    return re.sub(rf"{mark}\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="train and evaluate rows")
    runs.add_argument("--data", default="mnist", help="TFDS name of the data set, or digits")
    runs.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, metavar="VARIANT/EMBEDDING")
    runs.add_argument("--epochs", type=int, default=2, help="epochs of CT, FM and the adjoint")
    runs.add_argument("--block-epochs", type=int, default=1, help="epochs of DT and backprop: each trains all blocks")
    runs.add_argument("--images", type=int, help="train on only the first images, this many; all by default")
    runs.add_argument("--batch-size", type=int, default=128)
    runs.add_argument("--learning-rate", type=float, default=1e-3)
    runs.add_argument("--times-power", type=float, default=1.0, help="FM trains at times U^p; uniform by default")
    runs.add_argument("--states", type=int, default=1, help="noisy states per image in each step; CT, FM and DT")
    runs.add_argument("--steps", type=int, default=1000, help="Euler steps of the paper's protocol")
    runs.add_argument("--prototype-steps", type=int, default=20, help="the same if convolutions are in the solver")
    runs.add_argument("--seed", type=int, default=0)
    runs.add_argument("--validation", type=float, default=0.0, help="hold out this share, and evaluate on it instead")
    runs.add_argument("--out", type=Path, required=True, help="results file, one JSON object per line")
    runs.add_argument("--here", action="store_true", help="run in this process")
    commands.add_parser("page", help="regenerate the tables of docs/results.md")
    args = parser.parse_args()
    if args.command == "page":
        results = ROOT / "docs" / "results.md"
        write_file(results, page(results.read_text(encoding="utf-8")).encode())
        return
    no.keep_freed_memory()
    for row in args.rows:
        if not args.here:
            others = [
                f"--{name.replace('_', '-')}={value}"
                for name, value in vars(args).items()
                if name not in ("command", "rows", "here") and value is not None
            ]
            subprocess.run([sys.executable, __file__, "run", "--here", "--rows", row, *others], check=True)
            continue
        record = run_row(row, args)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with open(args.out, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
