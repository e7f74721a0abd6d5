"""`fit` over objects: resume to the last bit, callbacks, rollback, and data of every kind."""

import signal
import types

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from fits import assert_same, how, splits, stop_at, weights
from helpers import adam, blobs, mlp_model

import noprop_ode as no
from noprop_ode._training.resume import data_digest


def noise(xs, *, key):
    return xs + 0.01 * jr.normal(key, xs.shape, jnp.float32)


RECIPES = {
    "plain": {},
    "average, noise and patience": {"average_decay": 0.9, "augment": noise, "patience": 2},
    "several steps a call": {"steps_per_call": 2},
    "rollbacks allowed": {"rollbacks": 2},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_that_is_stopped_and_resumed_is_the_run_that_was_not(recipe, tmp_path, capfd):
    arguments = how(**RECIPES[recipe])
    whole = no.fit(mlp_model(), splits(), folder=tmp_path / "whole", **arguments)
    for step in (2, 6, 14, 18):  # 6 is the end of an epoch, 18 that of the run, before their validation
        with pytest.raises(no.Interrupted) as stop:
            no.fit(
                mlp_model(),
                splits(),
                folder=tmp_path / "parts",
                resume=True,
                callbacks=[stop_at(step)],
                **arguments,
            )
        assert stop.value.exit_code == 128 + signal.SIGTERM
    assert "finishing the step" in capfd.readouterr().err
    parts = no.fit(mlp_model(), splits(), folder=tmp_path / "parts", resume=True, **arguments)
    assert_same(whole.state, parts.state)
    assert_same(whole.best_model, parts.best_model)
    records = [no.read_records(tmp_path / run / "metrics.jsonl") for run in ("whole", "parts")]
    assert records[0] == records[1]
    assert [r["epoch"] for r in records[0] if r["kind"] == "validation"] == [1, 2, 3]
    assert [r["epoch"] for r in records[0] if r["kind"] == "train"] == [1] * 6 + [2] * 6 + [3] * 6
    # A folder changes nothing, and neither does going on with what is finished.
    assert_same(no.fit(mlp_model(), splits(), **arguments).state, whole.state)
    assert_same(no.fit(mlp_model(), splits(), folder=tmp_path / "parts", resume=True, **arguments).state, whole.state)


def test_a_finished_run_can_be_extended(tmp_path):
    longer = no.fit(mlp_model(), splits(), **how(epochs=5))
    no.fit(mlp_model(), splits(), folder=tmp_path, **how(epochs=2))
    extended = no.fit(mlp_model(), splits(), folder=tmp_path, resume=True, **how(epochs=5))
    assert_same(longer.state, extended.state)


def test_a_trained_model_is_trained_on(tmp_path):
    first = no.fit(mlp_model(), splits(), **how(folder=tmp_path / "a")).model
    no.save_arrays(tmp_path / "model.safetensors", first)
    still = {"optimiser": optax.sgd(1e-12), "epochs": 1, "seed": 1}
    second = no.fit(no.load_arrays(tmp_path / "model.safetensors", mlp_model()), splits(), **how(**still)).model
    for x, y in zip(weights(first), weights(second), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"batch_size": 12}, {"average_decay": 0.5}, {"splits": splits(48)}],
    ids=["seed", "batch_size", "average_decay", "data"],
)
def test_a_run_goes_on_only_with_what_it_began_with(change, tmp_path):
    no.fit(mlp_model(), splits(), folder=tmp_path, **how(epochs=1))
    data = change.pop("splits", splits())
    with pytest.raises((no.RunError, no.CheckpointError), match=r"began with|lacks"):
        no.fit(mlp_model(), data, folder=tmp_path, resume=True, **how(**change))


def test_validation_finds_the_best_model_and_patience_stops():
    seen = []

    def watch(run, event):
        if isinstance(event, no.EpochEnded):
            run.progress.best_accuracy = -1.0 if event.epoch < 3 else 2.0  # nothing is better from the third on
            seen.append(event.epoch)

    result = no.fit(mlp_model(), splits(), callbacks=[watch], **how(epochs=9, patience=2))
    assert seen == [1, 2, 3, 4, 5] and result.progress.stopped
    assert result.best_model is not None and result.progress.best_epoch == 3


def test_callbacks_see_the_run_and_can_stop_it():
    events = []

    def callback(run, event):
        events.append(type(event).__name__)
        if isinstance(event, no.EpochEnded) and event.epoch == 2:
            run.stop()

    result = no.fit(mlp_model(), splits(), callbacks=[callback], **how(epochs=9))
    assert result.progress.epoch == 2 and int(result.state.step) == 12
    assert events[0] == "Started" and events[-1] == "Stopped"
    assert events.count("Stepped") == 12 and events.count("EpochEnded") == 2


def test_an_epoch_sees_the_data_that_the_run_has_by_then():
    seen = []

    def other_data(run, event):
        if isinstance(event, no.EpochEnded):
            run.train = types.SimpleNamespace(images=run.train.images * 0 + event.epoch, labels=run.train.labels)

    def look(xs, *, key):
        seen.append(float(jnp.max(xs)))
        return xs

    no.fit(mlp_model(), splits(), callbacks=[other_data], **how(augment=look))
    assert seen[6:] == [1.0] * 6 + [2.0] * 6


def test_other_data_make_as_many_batches():
    def more_data(run, event):
        if isinstance(event, no.EpochEnded):
            run.train = splits(80).train

    with pytest.raises(ValueError, match="of 80 images; expected as many as make 6 batches of 10"):
        no.fit(mlp_model(), splits(), callbacks=[more_data], **how())


def test_compilation_and_checkpoints_are_not_in_the_speed():
    """Of 6 steps an epoch, 4 in one call and two single ones, which are another program, one is neither the first of
    its epoch nor the first of its kind."""
    result = no.fit(mlp_model(), splits(), **how(steps_per_call=4))
    assert result.progress.timed_steps == 3 and result.progress.seconds > 0


def test_what_follows_fails_and_the_run_still_ends(tmp_path):
    def callback(run, event):
        if isinstance(event, no.EpochEnded):
            raise KeyError("a mistake of the user's")

    ended = []
    with pytest.raises(KeyError):
        no.fit(
            mlp_model(),
            splits(),
            folder=tmp_path,
            callbacks=[callback, lambda run, event: ended.append(isinstance(event, no.Stopped))],
            **how(),
        )
    assert ended[-1]
    no.fit(mlp_model(), splits(), folder=tmp_path, resume=True, **how())  # the lock was given back


@pytest.mark.parametrize(
    "images",
    [
        lambda xs: (255 * xs).astype(np.uint8),
        lambda xs: jnp.asarray(xs),
        lambda xs: xs.astype(np.float64),
    ],
    ids=["uint8", "jax", "float64"],
)
def test_arrays_that_no_data_set_ever_saw(images, tmp_path):
    result = no.fit(mlp_model(), splits(images=images), folder=tmp_path, **how(epochs=1))
    assert int(result.state.step) == 6


def test_data_of_every_type_have_a_checksum():
    digests = {
        data_digest(splits(images=lambda xs, t=t: jnp.asarray(xs, t))) for t in ("bfloat16", "float16", "float32")
    }
    assert len(digests) == 3


def test_vectors_are_images_too():
    class OnVectors(no.AbstractVectorField):
        linear: eqx.nn.Linear

        def encode(self, x, *, key=None):
            return x

        def __call__(self, t, z, features):
            return self.linear(jnp.concatenate([z, features]))

    xs, ys = blobs()
    part = types.SimpleNamespace(images=xs.reshape(len(xs), -1), labels=ys.astype(np.int64))
    model = no.NoPropCT(OnVectors(eqx.nn.Linear(7, 3, key=jr.key(0))), embedding=no.OneHot(3))
    data = types.SimpleNamespace(train=part, validation=None)
    result = no.fit(model, data, **how(epochs=2))
    assert result.best_model is None and int(result.state.step) == 12


def dt_model(**how):
    def block(key):
        return no.nn.MLPField((2, 2, 1), 3, 3, width=8, time_size=8, key=key)

    return no.NoPropDT(no.Blocks(block, 2, key=jr.key(0)), embedding=no.OneHot(3), **how)


def clipped(norm):
    inner = adam()
    clip = optax.clip_by_global_norm(norm)
    return optax.chain(clip, inner)


def test_blocks_are_optimised_apart():
    """With a global clip a block would depend on the gradients of the others; blockwise it does not."""
    seen = {}
    for name, optimiser in {"by itself": clipped(1e-3), "spelt out": no.blockwise(clipped(1e-3))}.items():
        result = no.fit(dt_model(), splits(), **how(optimiser=optimiser, epochs=1))
        seen[name] = weights(result.state)
        assert isinstance(result.state.opt_state, no.BlockwiseState)
    for a, b in zip(*seen.values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_network_has_its_optimiser_whether_or_not_its_blocks_are_apart():
    frozen = no.partitioned(optax.set_to_zero(), adam())
    readout = no.LinearReadout(3, 3, key=jr.key(5))  # the default one has nothing to learn from one-hot labels
    for model in (mlp_model(readout=readout), dt_model(readout=readout)):
        result = no.fit(model, splits(), **how(optimiser=frozen, epochs=1))
        assert_same(result.model.field, model.field)
        assert all((a != b).any() for a, b in zip(weights(result.model.readout), weights(readout), strict=True))
