"""Training on streamed images is training on the same images in memory, to the last bit."""

import shutil

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import adam
from test_real_sets import real_dir
from test_stream import watched
from tfds_folders import make_folder

import noprop_ode as no
from noprop_ode import data


ADAM = adam()


def model(train):
    field = no.nn.MLPField(train.image_shape, train.num_classes, 4, width=8, time_size=4, key=jr.key(0))
    return no.NoPropCT(field, embedding=no.LearnedEmbedding(train.num_classes, 4, key=jr.key(1)))


def trained(splits, *callbacks, **how):
    """What a run arrives at, and the loss of every step that it took."""
    losses = []

    def watch(run, event):
        if isinstance(event, no.Stepped):
            losses.extend(np.ravel(event.metrics.loss).tolist())

    how = {"epochs": 3, "batch_size": 8, "seed": 3, "progress": False, **how}
    found = no.fit(model(splits.train), splits, optimiser=ADAM, callbacks=(watch, *callbacks), **how)
    return found, losses


def evaluated(found, part):
    return no.evaluate(found.model, part.images, part.labels, key=jr.key(9), batch_size=7)


def assert_same(a, b):
    assert a[1] == b[1] and np.isfinite(a[1]).all()
    assert a[0].progress.best_accuracy == b[0].progress.best_accuracy


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    make_folder(folder, train=90, test=16)
    return folder


@pytest.fixture(scope="module")
def in_memory(toys, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOPROP_ODE_CACHE", str(tmp_path_factory.mktemp("cache")))
        splits = data.load("toys", data_dir=toys)
        found = trained(splits, augment=data.Augmentation(flip=True, pixels=1))
        return found, evaluated(found[0], splits.test)


@pytest.mark.parametrize("how", [{}, {"steps_per_call": 4}], ids=["plain", "several steps a call"])
def test_losses_are_those_in_memory(how, toys, in_memory):
    splits = data.load("toys", data_dir=toys, stream=True)
    found = trained(splits, augment=data.Augmentation(flip=True, pixels=1), **how)
    if how:  # one program of several steps rounds otherwise than one of each
        np.testing.assert_allclose(found[1], in_memory[0][1], rtol=1e-5)
    else:
        assert_same(found, in_memory[0])
        assert evaluated(found[0], splits.test) == in_memory[1]


def interrupting(step):
    def callback(run, event):
        if isinstance(event, no.Stepped) and run.progress.step == step:
            raise KeyboardInterrupt

    return callback


def test_a_run_killed_in_mid_epoch_goes_on_from_the_next_batch(toys, in_memory, tmp_path, monkeypatch):
    how = {"augment": data.Augmentation(flip=True, pixels=1), "folder": tmp_path / "run", "checkpoint_seconds": 0.0}
    with pytest.raises(KeyboardInterrupt):
        trained(data.load("toys", data_dir=toys, stream=True), interrupting(14), **how)
    # Another place, and other times of the files.
    shutil.copytree(toys, tmp_path / "moved", copy_function=shutil.copyfile)
    splits = data.load("toys", data_dir=tmp_path / "moved", stream=True)
    seen = watched(monkeypatch)
    found = trained(splits, resume=True, **how)
    left = 30 - len(found[1])
    assert left == 13 and found[1] == in_memory[0][1][left:]
    assert found[0].progress.best_accuracy == in_memory[0][0].progress.best_accuracy
    validated = 2 * len(splits.validation)
    assert len(seen) <= 8 * (len(found[1]) + 3) + validated + 1
    for other in (data.load("toys", data_dir=toys, stream=True, seed=1), data.load("toys", data_dir=toys)):
        with pytest.raises(no.RunError, match="other images or labels"):
            trained(other, resume=True, **{**how, "epochs": 4})


def test_a_run_that_goes_back_reads_the_epoch_again(toys):
    steps, count = [], iter(range(1000))

    def update(updates, state, params=None):
        # In the fourth step of the second epoch the weights are lost, once.
        factor = jax.pure_callback(
            lambda: np.float32(np.inf if next(count) == 13 else 1), jax.ShapeDtypeStruct((), jnp.float32)
        )
        updates, state = ADAM.update(updates, state, params)
        return jax.tree.map(lambda u: u * factor, updates), state

    def watch(run, event):
        if isinstance(event, no.Stepped):
            steps.append(int(np.ravel(event.metrics.step)[-1]))

    splits = data.load("toys", data_dir=toys, stream=True)
    found = no.fit(
        model(splits.train),
        splits,
        optimiser=optax.GradientTransformation(ADAM.init, update),
        epochs=2,
        batch_size=8,
        rollbacks=1,
        callbacks=[watch],
        progress=False,
    )
    assert found.progress.rollbacks == 1
    assert steps == [*range(1, 15), *range(11, 21)]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_real_mnist_trains_as_in_memory(workers):
    folder = real_dir("mnist")
    memory, disk = (
        data.load("mnist", data_dir=folder),
        data.load("mnist", data_dir=folder, stream=True, workers=workers),
    )
    np.testing.assert_array_equal(memory.train.labels, disk.train.labels)
    assert (memory.train.mean, memory.train.std) == (disk.train.mean, disk.train.std)
    how = {"batch_size": 256, "epochs": 1}
    found, expected = trained(disk, **how), trained(memory, **how)
    assert_same(found, expected)
    assert len(found[1]) == 54000 // 256
    assert evaluated(found[0], disk.test) == evaluated(expected[0], memory.test)
