"""The blocks of DT, averaged, compared with as many networks that were trained to classify, on scikit-learn's digits.

A block that is evaluated at the mean, without the evidence of the state, is a classifier by a network of its own. Each
seed trains the model of `experiments/digits_dt.py`, and ten networks with the layers of a block from other initial
weights, all for as many steps; probabilities of the first n blocks, or of n networks, are averaged. Both sides cost as
much, in training and in prediction.

    python benchmarks/dt_ensemble.py --seeds 3
"""

import argparse
from collections.abc import Sequence

import jax
import jax.nn as jnn
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import noprop_ode as no


BLOCKS, EPOCHS, COUNTS = 10, 12, (1, 2, 5, 10)


def fitted(model: no.AbstractModel, splits: no.data.Splits, seed: int) -> no.AbstractModel:
    """The model, trained as `experiments/digits_dt.py` trains."""
    rate = no.warmup_cosine(1e-3, EPOCHS * (len(splits.train) // 128))
    optimiser = optax.adamw(rate, weight_decay=1e-3)
    return no.fit(model, splits, optimiser=optimiser, epochs=EPOCHS, seed=seed, progress=False).model


def of_seed(seed: int) -> dict[tuple[str, int], no.Score]:
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
    found = {}
    for n in COUNTS:
        first = no.EnsembleDecoder([k / BLOCKS for k in range(n)])
        averaged = jnn.logsumexp(jnp.stack(networks[:n]), axis=0) - np.log(n)
        found["blocks of DT", n] = no.score(probabilities(dt, first), test.labels)
        found["supervised", n] = no.score(averaged, test.labels)
    return found


def told(scores: Sequence[no.Score]) -> str:
    """Mean and standard error of the accuracy, and the mean likelihood."""
    accuracy = [score.accuracy for score in scores]
    error = f" ± {np.std(accuracy, ddof=1) / np.sqrt(len(scores)):.4f}" if len(scores) > 1 else ""
    return f"{np.mean(accuracy):.4f}{error} ({np.mean([score.nll for score in scores]):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    found = [of_seed(seed) for seed in range(args.seeds)]
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, seeds 0 to {args.seeds - 1}\n")
    print("| averaged | the first blocks of DT | supervised networks |\n|---:|---|---|")
    for n in COUNTS:
        print(f"| {n} | {told([f['blocks of DT', n] for f in found])} | {told([f['supervised', n] for f in found])} |")


if __name__ == "__main__":
    main()
