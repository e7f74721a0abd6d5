"""One of several processes that train together; `test_processes.py` starts them. Prints nothing but what is asked."""

import gc
import json
import os
import signal
import sys

import jax
import jax.random as jr
import numpy as np
import optax
from helpers import adam, blobs

import noprop_ode as no


def model(kind):
    embedding = no.OneHot(3) if kind == "one-hot" else no.LearnedEmbedding(3, 5, key=jr.key(1))

    def make(key):
        return no.nn.MLPField((2, 2, 1), 3, embedding.dim, width=8, time_size=4, key=key)

    return no.NoPropDT(no.Blocks(make, 4, key=jr.key(0)), embedding=embedding)


# One object: a step is compiled for each.
OPTIMISER = no.blockwise(optax.chain(optax.clip_by_global_norm(0.5), adam(1e-2)))


def jittered(xs, *, key):
    return xs + 0.01 * jr.normal(key, xs.shape)


def run(kind, layout, folder, stop_at=None, number=signal.SIGTERM, victim=1):
    """Trains as the settings say; sends one of the processes a signal after a step, if asked to."""
    losses = []

    def watch(run, event):
        if isinstance(event, no.Stepped):
            losses.append(float(np.ravel(event.metrics.loss)[-1]))
            if run.progress.step == stop_at and jax.process_index() == victim:
                os.kill(os.getpid(), number)

    xs, ys = blobs(44)
    splits = no.data.from_arrays(xs, ys, validation=12)
    made = model(kind)
    result = no.fit(
        made,
        splits,
        optimiser=OPTIMISER,
        epochs=3,
        batch_size=8,
        folder=folder,
        resume=True,
        augment=jittered,
        parallel=layout,
        checkpoint_seconds=1e6,
        callbacks=[watch],
        progress=False,
    )
    whole = no.gathered(result.model)
    found = no.evaluate(result.model, xs, ys, key=jr.key(5), prediction=made.paper_prediction)
    best = no.evaluate(result.best_model, xs, ys, key=jr.key(5))
    return whole, {"losses": losses, "figures": [found.accuracy, found.nll, best.nll]}


if __name__ == "__main__":
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    settings = json.loads(sys.argv[1])
    if "JAX_NUM_PROCESSES" in os.environ:
        no.start_processes(heartbeat_seconds=10)
    axes = settings.pop("axes")
    out = settings.pop("out", None)
    try:
        whole, found = run(layout=None if axes is None else no.Parallel(**axes), **settings)
    except no.Interrupted as stop:
        sys.exit(stop.exit_code)
    if out is not None and jax.process_index() == 0:
        no.save_arrays(out, whole, found)
