"""NoProp-CT on MNIST: the paper's network without dropout, one-hot labels, cross-entropy at times U^3.

TFDS_DATA_DIR=... python experiments/mnist_ct.py

Measured with seed 0 on 2 shared CPU cores (AMD EPYC, jax 0.10.2): 559 s of CPU time, including eight evaluations;
54,000 training images. Test accuracy (NLL in nats):

    default: one DDIM step from the mean, denoiser      0.9930  (0.021)     1 evaluation of the head
    10 DDIM steps from noise, 16 draws averaged         0.9929  (0.021)   160
    paper: 1000 Euler steps from one draw, readout      0.9931  (4.48)   1000
"""

import argparse

import jax.random as jr
import optax

import noprop_ode as no
from noprop_ode.experiment import flags


def main(args: argparse.Namespace) -> None:
    splits = no.data.load("mnist", data_dir=args.data_dir, seed=args.seed)
    train, test = splits.train, splits.test
    field = no.nn.ConvField(
        train.image_shape, 10, 10, dropout=0.0, mean=train.mean, std=train.std, key=jr.key(args.seed)
    )
    model = no.NoPropCT(field, embedding=no.OneHot(10), objective=no.CrossEntropy(), times=no.PowerTimes(3.0))

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

    ways = {"default": model.default_prediction, **model.protocols}
    key = jr.key(args.seed)
    images = no.encode(result.model, test.images)  # once for all of them
    found = {name: no.evaluate(result.model, images, test.labels, key=key, prediction=p) for name, p in ways.items()}
    for name, e in found.items():
        print(f"{name:20s} accuracy {e.accuracy:.4f}  nll {e.nll:.4f}  {e.num_evaluations:6.1f} evaluations")
    print(f"test_accuracy={found['default'].accuracy:.4f}")


if __name__ == "__main__":
    flags(main, __doc__, epochs=3)
