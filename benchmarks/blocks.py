"""The first blocks of a trained DT, averaged: what each further block adds.

    noprop-ode train cifar10_fast_dt --out RUN
    python -m benchmarks.blocks RUN

Evaluates the model of a run from the mean of the noise, with one block, the first two, and so on: on validation images,
to choose by, and on test images, each also averaged over the mirror image. `python -m benchmarks results` writes the
table of docs/results.md from what it keeps.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import noprop_ode as no
from noprop_ode.experiment import evaluation_key, load_data, load_model

from ._record import RESULTS, Result, Row, machine, read, write
from ._text import table, with_table


RECORDS = RESULTS / "blocks.jsonl"
_SPLITS = ("validation", "test")


def measure(run: Path) -> Iterator[Row]:
    """A row for each number of blocks, split and number of views."""
    model, config, _ = load_model(run)
    if not isinstance(model, no.NoPropDT):
        raise SystemExit(f"{run} holds no model of NoProp-DT, but of {type(model).__name__}.")
    splits, count = load_data(config), model.independent_blocks.num_blocks
    for split in _SPLITS:
        data = getattr(splits, split)
        if data is None:
            raise SystemExit(f"The data of {run} have no {split} images.")
        images = no.encode(model, data.images, mirror=True)
        for n in range(1, count + 1):
            for mirror in (False, True):
                how = model.default_prediction._replace(
                    decoder=no.EnsembleDecoder([k / count for k in range(n)]), mirror=mirror
                )
                found = no.evaluate(model, images, data.labels, key=evaluation_key(config), prediction=how)
                yield {
                    "blocks": n,
                    "split": split,
                    "mirror": mirror,
                    "accuracy": found.accuracy,
                    "nll": found.nll,
                    "nfe": found.num_evaluations,
                }


def page(text: str, records: Path = RECORDS) -> str:
    """The page with its table made from the records."""
    result = read(records)
    rows = [] if result is None else result.rows
    cells = {(r["blocks"], r["split"], r["mirror"]): f"{r['accuracy']:.4f} ({r['nll']:.3f})" for r in rows}
    heads = ["blocks averaged", *(f"{split}{also}" for split in _SPLITS for also in ("", ", mirrored"))]
    lines = [
        [n, *(cells[n, split, mirror] for split in _SPLITS for mirror in (False, True))]
        for n in dict.fromkeys(row["blocks"] for row in rows)
    ]
    return with_table(text, "first blocks", table(heads, lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--out", type=Path, default=RECORDS, help="results file")
    args = parser.parse_args()
    about, rows = {"run": args.run.name, **machine()}, []
    for row in measure(args.run):
        rows.append(row)
        views = "mirrored" if row["mirror"] else "as they are"
        print(f"{row['split']} images, {views}, {row['blocks']} blocks: {row['accuracy']:.4f} ({row['nll']:.3f})")
    write(args.out, Result(about, rows))


if __name__ == "__main__":
    main()
