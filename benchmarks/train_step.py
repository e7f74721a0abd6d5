"""The cost of a NoProp-CT training step, as a ratio to a plain supervised step of the same network on the same batch.

All steps are compiled, use the same optimiser and the same batch, and alternate within one run, so that a machine that
slows down slows all. The floor of the ratio is 1: NoProp-CT adds the noise and the readout to what a supervised step
does, which is a vanishing share of the arithmetic. Further states of an image share its encoding; what each adds is
the head.

    python benchmarks/train_step.py --image-shape 28 28 1 --states 1 8
"""

import argparse
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import noprop_ode as no


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-shape", type=int, nargs=3, default=(28, 28, 1), metavar=("H", "W", "C"))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--states", type=int, nargs="+", default=(1,), help="noisy states a step draws for each image")
    args = parser.parse_args()
    no.keep_freed_memory()

    shape = tuple(args.image_shape)
    rng = np.random.default_rng(0)
    xs = jnp.asarray(rng.integers(0, 256, (args.batch_size, *shape), dtype=np.uint8))
    ys = jnp.asarray(rng.integers(0, 10, args.batch_size, dtype=np.int32))
    field = no.nn.ConvField(image_shape=shape, num_classes=10, label_dim=10, key=jr.key(0))
    optimiser = optax.adamw(1e-3)

    noprop_step = eqx.filter_jit(no.train_step)
    states = {}
    for n in args.states:
        model = no.NoPropCT(field, embedding=no.OneHot(10), objective=no.CrossEntropy(), states_per_image=n)
        states[f"noprop-ct, {n} an image"] = no.TrainState.create(model, optimiser, key=jr.key(2))
    params, static = eqx.partition(field, eqx.is_inexact_array)
    supervised_state = (params, optimiser.init(params), jr.key(3))

    @jax.jit
    def supervised_step(state, xs, ys):
        params, opt_state, key = state
        key, step_key = jr.split(key)

        def loss(params):
            field = eqx.combine(params, static)

            def one(x, y, key):
                z, t = jnp.zeros(10, jnp.float32), jnp.zeros((), jnp.float32)
                return -jax.nn.log_softmax(field(t, z, field.encode(x, key=key)))[y]

            return jnp.mean(jax.vmap(one)(xs, ys, jr.split(step_key, len(xs))))

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = optimiser.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, key), value

    times = {name: [] for name in ("supervised", *states)}
    for i in range(args.rounds + 2):
        for name in times:
            start = time.perf_counter()
            if name == "supervised":
                supervised_state = jax.block_until_ready(supervised_step(supervised_state, xs, ys))[0]
            else:
                states[name] = jax.block_until_ready(noprop_step(states[name], xs, ys))[0]
            if i >= 2:  # compilation and warm-up
                times[name].append(time.perf_counter() - start)

    device = jax.devices()[0]
    print(f"{shape}, batch {args.batch_size}, {args.rounds} rounds, {device.device_kind}, jax {jax.__version__}")
    floor = np.array(times["supervised"])
    for name, seconds in times.items():
        low, mid, high = np.quantile(np.array(seconds) / floor, (0.25, 0.5, 0.75))
        milliseconds = 1e3 * np.median(seconds)
        print(f"{name:24} {milliseconds:8.2f} ms a step, ratio {mid:.3f} (quartiles {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
