"""The blocks of DT, averaged, compared with as many networks that were trained to classify, on scikit-learn's digits.

A block that is evaluated at the mean, without the evidence of the state, is a classifier by a network of its own. Each
seed trains the model of `experiments/digits_dt.py`, and ten networks with the layers of a block from other initial
weights, all for as many steps; probabilities of the first n blocks, or of n networks, are averaged. Both sides cost as
much, in training and in prediction.

    python -m benchmarks.dt_ensemble --seeds 3

`python -m benchmarks results` writes the table of docs/results.md from what it keeps.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import noprop_ode as no

from ._record import RESULTS, Result, Row, machine, read, write
from ._text import table, with_table


RECORDS = RESULTS / "dt_ensemble.jsonl"
BLOCKS, EPOCHS, COUNTS = 10, 12, (1, 2, 5, 10)
_KINDS = {"blocks of DT": "the first blocks of DT", "supervised": "supervised networks"}


def fitted(model: no.AbstractModel, splits: no.data.Splits, seed: int) -> no.AbstractModel:
    """The model, trained as `experiments/digits_dt.py` trains."""
    rate = no.warmup_cosine(1e-3, EPOCHS * (len(splits.train) // 128))
    optimiser = optax.adamw(rate, weight_decay=1e-3)
    return no.fit(model, splits, optimiser=optimiser, epochs=EPOCHS, seed=seed, progress=False).model


def of_seed(seed: int) -> Iterator[Row]:
    """Test scores by kind and number of networks."""
    loaded = no.data.load("digits", seed=seed)
    splits, test = no.data.Splits(loaded.train), loaded.test
    assert test is not None
    train = splits.train

    def block(key: jax.Array) -> no.AbstractVectorField:
        return no.nn.ConvBlock(train.image_shape, 10, 10, dropout=0.0, mean=train.mean, std=train.std, key=key)

    def probabilities(model: no.AbstractModel, decoder: no.AbstractDecoder | None = None) -> jax.Array:
        return no.predict_log_proba(model, test.images, key=jr.key(seed), decoder=decoder)

    dt = no.NoPropDT(
        no.Blocks(block, BLOCKS, key=jr.key(seed)), embedding=no.OneHot(10), objective=no.CrossEntropy(), eta=1.0
    )
    dt = fitted(dt, splits, seed)
    networks = []
    for i in range(BLOCKS):
        network = no.Supervised(block(jr.fold_in(jr.key(seed), i)), embedding=no.OneHot(10))
        networks.append(probabilities(fitted(network, splits, seed)))  # in the order of the blocks' batches

    def scored(kind: str, count: int, log_ps: jax.Array) -> Row:
        found = no.score(log_ps, test.labels)
        return {"kind": kind, "averaged": count, "seed": seed, "accuracy": found.accuracy, "nll": found.nll}

    for n in COUNTS:
        first = no.EnsembleDecoder([k / BLOCKS for k in range(n)])
        averaged = jnn.logsumexp(jnp.stack(networks[:n]), axis=0) - np.log(n)
        yield scored("blocks of DT", n, probabilities(dt, first))
        yield scored("supervised", n, averaged)


def told(rows: Sequence[Row]) -> str:
    """Mean and standard error of the accuracy over seeds, and the mean likelihood."""
    accuracy = [row["accuracy"] for row in rows]
    error = f" ± {np.std(accuracy, ddof=1) / np.sqrt(len(rows)):.4f}" if len(rows) > 1 else ""
    return f"{np.mean(accuracy):.4f}{error} ({np.mean([row['nll'] for row in rows]):.3f})"


def page(text: str, records: Path = RECORDS) -> str:
    """The page with its table made from the records."""
    result = read(records)
    rows = [] if result is None else result.rows
    lines = [
        [n, *(told([row for row in rows if (row["kind"], row["averaged"]) == (kind, n)]) for kind in _KINDS)]
        for n in dict.fromkeys(row["averaged"] for row in rows)
    ]
    return with_table(text, "averaged blocks", table(["averaged", *_KINDS.values()], lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RECORDS, help="results file")
    args = parser.parse_args()
    about, rows = machine(), []
    for seed in range(args.seeds):
        for row in of_seed(seed):
            rows.append(row)
            print(f"seed {seed}, {row['kind']}, {row['averaged']}: {told([row])}", flush=True)
    write(args.out, Result(about, rows))


if __name__ == "__main__":
    main()
