"""NoProp-DT on CIFAR-10: ten blocks of the paper's network without dropout, one-hot labels, cross-entropy.

TFDS_DATA_DIR=... python experiments/cifar10_dt.py

Measured with seed 0 on 2 CPU cores (AMD EPYC, jax 0.10.2): the weights are those of `noprop-ode train cifar10_dt`,
in 1120 s, 1272 s of CPU time; 45,000 images, once for each block. Test accuracy with this script's draws (NLL in nats):

    default: the first five blocks, averaged            0.6125  (1.090)     5 evaluations of a block
    mean ddim-1: the first block alone                  0.6182  (1.091)     1
    fitted ensemble: all blocks, weighted               0.6261  (1.056)    10
    10 DDIM steps from noise, 16 draws averaged         0.5662  (1.453)   160
    paper: 10 ancestral steps from one draw, readout    0.4147  (616)      10
"""

import argparse

import jax
import jax.random as jr
import optax

import noprop_ode as no
from noprop_ode.experiment import flags


def main(args: argparse.Namespace) -> None:
    splits = no.data.load("cifar10", data_dir=args.data_dir, seed=args.seed)
    train, test = splits.train, splits.test

    def block(key: jax.Array) -> no.AbstractVectorField:
        return no.nn.ConvBlock(train.image_shape, 10, 10, dropout=0.0, mean=train.mean, std=train.std, key=key)

    blocks = no.Blocks(block, 10, key=jr.key(args.seed))
    model = no.NoPropDT(blocks, embedding=no.OneHot(10), objective=no.CrossEntropy(), eta=1.0)

    steps = args.epochs * max(1, len(train) // args.batch_size)
    rate = no.warmup_cosine(args.learning_rate, steps)
    result = no.fit(
        model,
        splits,
        optimiser=optax.adamw(rate, weight_decay=1e-3),
        learning_rate=rate,
        epochs=args.epochs,
        batch_size=args.batch_size,
        seed=args.seed,
        folder=args.out,
        resume=args.resume,
    )
    no.save_arrays(args.out / "model.safetensors", result.model)

    held_out, times = splits.validation, [k / 10 for k in range(10)]
    assert held_out is not None, "a part of the training set is held out by default"
    fitted = no.fit_ensemble(result.model, held_out.images, held_out.labels, times)
    ways = {"default": model.default_prediction, **model.protocols}
    ways["fitted ensemble"] = model.default_prediction._replace(decoder=fitted)
    key = jr.key(args.seed)
    images = no.encode(result.model, test.images)  # once for all of them
    found = {name: no.evaluate(result.model, images, test.labels, key=key, prediction=p) for name, p in ways.items()}
    for name, e in found.items():
        print(f"{name:20s} accuracy {e.accuracy:.4f}  nll {e.nll:.4f}  {e.num_evaluations:6.1f} evaluations")
    print(f"test_accuracy={found['default'].accuracy:.4f}")


if __name__ == "__main__":
    flags(main, __doc__, epochs=1)
