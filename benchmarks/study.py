"""What makes a denoising classifier learn from the image as fast as supervised training of the same network.

    python benchmarks/study.py run --out FOLDER
    python benchmarks/study.py run --out FOLDER --rows "the recipe" "uniform times" --seeds 1 2
    python benchmarks/study.py page FOLDER

Each row is `noprop-ode train cifar10_fast_ct` with a narrower network, three epochs, lighter augmentation, learning
rate 0.005, no weight decay, and the changes of the row; the supervised twin is the same network without denoising. Rows
are compared on held-out training images, with one step from the mean; the test figure that a run prints at its end is
not used. A stopped run is resumed. `page` writes the results file and the table of docs/results.md.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from noprop_ode import read_records
from noprop_ode._training.files import write_file
from noprop_ode.experiment._command_line import configured
from noprop_ode.experiment._imports import import_components
from noprop_ode.experiment._overrides import parse_overrides
from noprop_ode.experiment._recipes import read_yaml
from noprop_ode.experiment._run_folder import differences


ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "study.jsonl"
PAGE = ROOT / "docs" / "results.md"
import_components([str(ROOT / "benchmarks" / "study_heads.py")], trust_imports=True)  # some rows have its networks
RECIPE, EPOCHS = "the recipe", 3
# Without the regularisation that keeps a long run from overfitting.
LIGHT = (
    "--data.augmentation.pixels 2 --data.augmentation.hole 0 --optimiser.method.weight_decay 0 --learning_rate 0.005"
)
COMMON = f"cifar10_fast_ct --model.field.channels [32,64,64] --epochs {EPOCHS} --protocols none {LIGHT}"
_FM = "--model.variant fm --model.variant.states_per_image 8 --model.objective squared-error"
_MEAN = "--prediction.start mean --prediction.draws 1"
_HEADS = "--imports benchmarks/study_heads.py --model.field.type studied-cnn --model.field.head"
ROWS: Mapping[str, str] = {
    "the supervised twin": "--model.variant supervised --model.times uniform",
    RECIPE: "",
    "one state an image": "--model.variant.states_per_image 1",
    "16 states an image": "--model.variant.states_per_image 16",
    "uniform times": "--model.times uniform",
    "times U⁶": "--model.times.power 6",
    "the evidence not added to the logits": "--model.variant.evidence_skip false",
    "the same, one state, uniform times": (
        "--model.variant.evidence_skip false --model.variant.states_per_image 1 --model.times uniform"
    ),
    "the paper's squared error": "--model.objective squared-error",
    "squared error, Min-SNR weights": "--model.objective squared-error --model.weighting min-snr",
    "squared error, uniform weights": "--model.objective squared-error --model.weighting uniform",
    "log SNR from -10 to 10": "--model.schedule.log_snr_0 -10 --model.schedule.log_snr_1 10",
    "log SNR from -4 to 4": "--model.schedule.log_snr_0 -4 --model.schedule.log_snr_1 4",
    "smoothed labels, 0.1": "--model.objective.smoothing 0.1",
    "average of weights": "--average_decay 0.99",
    "AdamW": "--optimiser.method adamw --learning_rate 0.002",
    "batches of 200": "--batch_size 200",
    "decay of the weights, twice the rate": "--optimiser.method.weight_decay 0.1 --learning_rate 0.01",
    "decay of the weights, six times the rate": "--optimiser.method.weight_decay 0.1 --learning_rate 0.03",
    "every channel normalised by itself": "--model.field.norm_groups 64",
    "self-conditioning": f"{_HEADS} self-conditioned",
    "state and time scale and shift the features": f"{_HEADS} film",
    "the network is not told the time": f"{_HEADS} timeless",
    "FM": _FM,
    "FM with the anchor": f"{_FM} --model.variant.anchor true",
    "FM, read from the mean": f"{_FM} {_MEAN}",
    "FM with the anchor, read from the mean": f"{_FM} --model.variant.anchor true {_MEAN}",
}


# How the table shows some rows, whose names in records, commands and folders stay as they were.
_SHOWN = {
    "the paper's squared error": "squared error, the paper's weights",
    "one state an image": "1 state per image",
    "16 states an image": "16 states per image",
    "decay of the weights, twice the rate": "weight decay, twice the learning rate",
    "decay of the weights, six times the rate": "weight decay, six times the learning rate",
}


def run(folder: Path, name: str, seed: int) -> None:
    """Trains one row, or the rest of a stopped run."""
    out = _folder(folder.resolve(), name, seed)
    command = [sys.executable, "-c", "from noprop_ode.experiment import console; console()", "train"]
    if (out / "config.yaml").exists():
        _same(out, name)
        command += ["--resume", str(out)]
    else:
        command += [*_settings(name, seed), "--out", str(out)]
    subprocess.run([*command, "--trust-imports"], check=True, cwd=ROOT)


def _settings(name: str, seed: int) -> list[str]:
    return [*COMMON.split(), *ROWS[name].split(), "--seed", str(seed)]


def _same(out: Path, name: str) -> int:
    """The seed of a run, whose settings must be those that its row has today: the page states them."""
    own = read_yaml(out / "config.yaml")
    seed: int = own["training"]["seed"]
    recipe, *flags = _settings(name, seed)
    if other := differences(own, configured(recipe, None, parse_overrides(flags))):
        raise SystemExit(
            f"{out} was run by other settings than {name!r} has today: {', '.join(other)}. Move it away, and run the "
            "row again."
        )
    return seed


def _folder(folder: Path, name: str, seed: int) -> Path:
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}-seed{seed}"


def found(folder: Path, name: str) -> list[dict[str, Any]]:
    """The results of the finished runs of a row, one per seed."""
    results = []
    stem = _folder(folder, name, 0).name.removesuffix("0")
    for out in sorted(path for path in folder.glob(f"{stem}*") if path.name.removeprefix(stem).isdigit()):
        if not (out / "metrics.jsonl").exists():
            continue  # stopped before its first record
        records = read_records(out / "metrics.jsonl")
        validation = [record for record in records if record["kind"] == "validation"]
        if not validation or validation[-1]["epoch"] != EPOCHS:
            continue
        seed = _same(out, name)
        accuracies = [round(record["accuracy"], 4) for record in validation]
        results.append(
            {
                "row": name,
                "flags": ROWS[name],
                "seed": seed,
                "accuracies": accuracies,
                "nll": round(validation[-1]["nll"], 4),
            }
        )
    return results


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """The results as a Markdown table, in the order of the rows; differences from the recipe are means over seeds."""
    recipe = {r["seed"]: r["accuracies"][-1] for r in records if r["row"] == RECIPE}
    lines = [
        f"| | flags | validation accuracy after epochs 1 to {EPOCHS} | NLL | points above the recipe | seeds |",
        "|---|---|---|---:|---:|---|",
    ]
    left: list[str] = []
    for name in ROWS:
        own = [r for r in records if r["row"] == name]
        if not own:
            left.append(_SHOWN.get(name, name))
            continue
        epochs = " / ".join(f"{mean(values):.4f}" for values in zip(*(r["accuracies"] for r in own)))
        pairs = [r["accuracies"][-1] - recipe[r["seed"]] for r in own if r["seed"] in recipe]
        above = f"{100 * mean(pairs):+.1f}" if pairs and name != RECIPE else ""
        seeds = ", ".join(str(r["seed"]) for r in own)
        lines.append(
            f"| {_SHOWN.get(name, name)} | {_code(ROWS[name])} | {epochs} | {mean(r['nll'] for r in own):.3f} "
            f"| {above} | {seeds} |"
        )
    if left:
        lines += ["", f"Not run: {'; '.join(left)}."]
    return "\n".join(lines)


def _code(flags: str) -> str:
    return f"`{flags}`" if flags else ""


def page(text: str) -> str:
    """The page with its table regenerated from the results file."""
    records = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    replaced = f"<!-- table: study -->\n{table(records)}\n<!-- end -->"
    return re.sub(r"<!-- table: study -->\n.*?<!-- end -->", lambda _: replaced, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="train rows")
    runs.add_argument("--out", type=Path, required=True, help="folder of the runs")
    runs.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    runs.add_argument("--seeds", nargs="+", type=int, default=[0])
    pages = commands.add_parser("page", help="write the results file and the table of docs/results.md")
    pages.add_argument("out", type=Path, help="folder of the runs")
    args = parser.parse_args()
    if args.command == "run":
        for seed in args.seeds:
            for name in args.rows:
                if all(record["seed"] != seed for record in found(args.out, name)):
                    run(args.out, name, seed)
        return
    if not args.out.is_dir():
        raise SystemExit(f"There is no folder {args.out}.")
    new = [record for name in ROWS for record in found(args.out, name)]
    # Earlier records stay, unless they were run again.
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    both = {(record["row"], record["seed"]): record for record in [*map(json.loads, lines), *new]}
    order = {name: i for i, name in enumerate(ROWS)}
    records = sorted(both.values(), key=lambda record: (order.get(record["row"], len(ROWS)), record["seed"]))
    write_file(RESULTS, "".join(json.dumps(record) + "\n" for record in records).encode())
    write_file(PAGE, page(PAGE.read_text(encoding="utf-8")).encode())


if __name__ == "__main__":
    main()
