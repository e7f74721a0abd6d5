"""The blocks of a trained DT: what each further one adds, and whether it is worth a network of its own.

    noprop-ode train cifar10_fast_dt --out RUN
    noprop-ode train cifar10_fast_supervised --epochs 8 --model.field.channels "[32, 128, 128]" --seed 1 --out TWIN
    python -m benchmarks.blocks RUN --networks TWIN …

Evaluates the model of a run from the mean of the noise: its first block, the first two averaged, and so on; all of
them, weighted on validation images; and the paper's protocol. With `--networks`, networks that were trained to classify
are averaged too. All on validation images, to choose by, and on test images; averages of photographs also over the
mirror image. What it keeps takes the place of earlier figures of the same configuration; `python -m benchmarks results`
writes the tables of docs/results.md from it.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.nn as jnn
import jax.numpy as jnp
import numpy as np

import noprop_ode as no
from noprop_ode.experiment import evaluation_key, load_data, load_model

from ._record import RESULTS, Result, Row, machine, read, write
from ._text import table, with_table


RECORDS = RESULTS / "blocks.jsonl"
FAST = "cifar10_fast_dt"
_CONFIGURATIONS = ("digits_dt", "mnist_dt", "cifar10_dt", FAST)  # in the tables
_SPLITS = ("validation", "test")
_AVERAGE, _FITTED, _PAPER, _NETWORKS = "first blocks", "fitted", "paper", "networks"
_WITH_MIRROR_IMAGES = ("cifar10", "cifar100")  # whose mirror image shows the same; that of a digit does not
_DATA = {"digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10"}


def measure(run: Path, networks: Sequence[Path] = ()) -> Iterator[Row]:
    """A row for each prediction, split and number of views.

    **Arguments:** the folder of a finished run of DT, and those of runs of networks to compare its blocks with.
    """
    model, config, _ = load_model(run)
    if not isinstance(model, no.NoPropDT):
        raise SystemExit(f"{run} holds no model of NoProp-DT, but of {type(model).__name__}.")
    splits, count, key = load_data(config), model.field.num_blocks, evaluation_key(config)
    held_out, test, times = splits.validation, splits.test, [k / count for k in range(count)]
    if held_out is None or test is None:
        raise SystemExit(f"The data of {run} have no validation images, or no test images.")
    fitted = no.fit_ensemble(model, held_out.images, held_out.labels, times)
    about = {"config": config.name, "data": config.data.name.type, "epochs": config.training.epochs, "of": count}
    views = (False, True) if about["data"] in _WITH_MIRROR_IMAGES else (False,)
    for split, data in {"validation": held_out, "test": test}.items():
        for row in _of_split(model, fitted, data, key, views):
            yield {**about, "split": split, **row}
    for row in _averaged(networks, config.data, test):
        yield {**about, "split": "test", "kind": _NETWORKS, **row}


def _of_split(
    model: no.NoPropDT, fitted: no.EnsembleDecoder, data: no.data.Dataset, key: jax.Array, views: Sequence[bool]
) -> Iterator[Row]:
    images, count = no.encode(model, data.images, mirror=any(views)), model.field.num_blocks

    def evaluated(how: no.Prediction) -> Row:
        return _scores(no.evaluate(model, images, data.labels, key=key, prediction=how))

    for mirror in views:
        for n in range(1, count + 1):
            first = model.default_prediction._replace(decoder=no.EnsembleDecoder(fitted.times[:n]), mirror=mirror)
            yield {"kind": _AVERAGE, "blocks": n, "mirror": mirror, **evaluated(first)}
        weighted = evaluated(model.default_prediction._replace(decoder=fitted, mirror=mirror))
        weights = [round(float(weight), 3) for weight in fitted.weights]
        yield {"kind": _FITTED, "blocks": count, "mirror": mirror, **weighted, "weights": weights}
    yield {"kind": _PAPER, "blocks": count, "mirror": False, **evaluated(model.paper_prediction)}


def _averaged(runs: Sequence[Path], of: Any, test: no.data.Dataset) -> Iterator[Row]:
    """The scores of the first run's network, of those of the first two averaged, and so on. Only on test images: runs
    of other seeds were trained on images that this one holds out."""
    log_ps: dict[bool, list[jax.Array]] = {False: [], True: []}
    for run in runs:
        model, config, _ = load_model(run)
        if config.data != of:
            raise SystemExit(f"{run} has other data than the blocks: {config.data}, not {of}.")
        images = no.encode(model, test.images, mirror=True)
        for mirror, found in log_ps.items():
            how = model.default_prediction._replace(mirror=mirror)
            found.append(no.predict_log_proba(model, images, key=evaluation_key(config), prediction=how))
            averaged = jnn.logsumexp(jnp.stack(found), axis=0) - np.log(len(found))
            yield {"mirror": mirror, "blocks": len(found), **_scores(no.score(averaged, test.labels))}


def _scores(found: no.Evaluation | no.Score) -> Row:
    return {"accuracy": found.accuracy, "nll": found.nll}


def page(text: str, records: Path = RECORDS) -> str:
    """The page with its tables made from the records."""
    result = read(records)
    rows = [] if result is None else result.rows
    return with_table(with_table(text, "first blocks", _first(rows)), "all blocks", _all(rows))


def _cells(rows: Sequence[Row], *names: str) -> dict[tuple[Any, ...], str]:
    return {tuple(row[name] for name in names): told(row["accuracy"], row["nll"]) for row in rows}


def told(accuracy: float, nll: float) -> str:
    """Both, the likelihood in brackets and with three digits."""
    return f"{accuracy:.4f} ({f'{nll:#.3g}'.removesuffix('.')})"


def _first(rows: Sequence[Row]) -> str:
    """What each block of the fast network adds, and each network beside it."""
    cells = _cells([row for row in rows if row["config"] == FAST], "kind", "blocks", "split", "mirror")
    columns = {
        f"{split}{', mirrored' if mirror else ''}{', networks' if kind == _NETWORKS else ''}": (kind, split, mirror)
        for kind, splits in ((_AVERAGE, _SPLITS), (_NETWORKS, ("test",)))
        for split in splits
        for mirror in (False, True)
    }
    counts = dict.fromkeys(blocks for kind, blocks, *_ in cells if kind == _AVERAGE)
    lines = [
        [n, *(cells.get((kind, n, split, mirror), "") for kind, split, mirror in columns.values())] for n in counts
    ]
    return table(["averaged", *columns], lines)


def _all(rows: Sequence[Row]) -> str:
    """The first block, averages, weighted blocks and a trajectory, of every recipe."""
    plain = [row for name in _CONFIGURATIONS for row in rows if row["config"] == name and not row["mirror"]]
    cells = _cells(plain, "config", "split", "kind", "blocks")
    runs = dict.fromkeys((r["config"], r["data"], r["epochs"], r["of"], split) for r in plain for split in _SPLITS)
    heads = ["", "images", "the first block", "the first half, averaged (the default)", "all, averaged"]
    heads += ["all, weighted on validation images", "the paper's protocol"]
    lines = [
        [
            f"{_DATA[data]}, {of} blocks, {epochs} epoch{'s' * (epochs > 1)}",
            split,
            *(cells[config, split, _AVERAGE, n] for n in (1, of // 2, of)),
            *(cells[config, split, kind, of] for kind in (_FITTED, _PAPER)),
        ]
        for config, data, epochs, of, split in runs
    ]
    return table(heads, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--networks", type=Path, nargs="+", default=[], help="folders of networks to average beside it")
    parser.add_argument("--out", type=Path, default=RECORDS, help="results file")
    args = parser.parse_args()
    rows = []
    for row in measure(args.run, args.networks):
        rows.append(row)
        views = "mirrored" if row["mirror"] else "as they are"
        what = f"{row['kind']}, {row['blocks']}"
        print(f"{row['split']} images, {views}: {what}: {told(row['accuracy'], row['nll'])}", flush=True)
    earlier = read(args.out)
    kept = [row for row in earlier.rows if row["config"] != rows[0]["config"]] if earlier else []
    write(args.out, Result(machine(), [*kept, *rows]))


if __name__ == "__main__":
    main()
