"""How runs of `fit` end: stopped by a callback, failed at their first step, or by an update that is no number."""

import os
import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from fits import how, splits, weights
from helpers import adam, blobs, mlp_model

import noprop_ode as no


def test_the_last_epoch_of_a_stopped_run_is_validated(tmp_path):
    """Whatever `validate_every` says: else there would be no best model."""

    def stop(run, event):
        if isinstance(event, no.EpochEnded) and event.epoch == 3:
            run.stop()

    result = no.fit(mlp_model(), splits(), folder=tmp_path, callbacks=[stop], **how(epochs=9, validate_every=5))
    found = [r["epoch"] for r in no.read_records(tmp_path / "metrics.jsonl") if r["kind"] == "validation"]
    assert found == [3] and result.progress.best_epoch == 3
    for a, b in zip(weights(result.best_model), weights(result.model), strict=True):
        np.testing.assert_array_equal(a, b)
    again = no.fit(
        mlp_model(), splits(), folder=tmp_path, resume=True, callbacks=[stop], **how(epochs=9, validate_every=5)
    )
    assert again.progress.epoch == 3
    assert [r["kind"] for r in no.read_records(tmp_path / "metrics.jsonl")].count("validation") == 1


def test_a_stopped_run_that_is_called_again_says_so(tmp_path, capsys):
    def stop(run, event):
        if isinstance(event, no.EpochEnded):
            run.stop()

    for resume in (False, True):
        changes = {"epochs": 9, "progress": True}
        no.fit(mlp_model(), splits(), folder=tmp_path, resume=resume, callbacks=[stop], **how(**changes))
    assert capsys.readouterr().err.count("this run was stopped after epoch 1") == 1


def test_what_is_recorded_at_the_end_is_kept(tmp_path):
    def last(run, event):
        if isinstance(event, no.Stopped):
            run.record("summary", minutes=3.0)

    no.fit(mlp_model(), splits(), folder=tmp_path, callbacks=[last], **how(epochs=1))
    assert no.read_records(tmp_path / "metrics.jsonl")[-1] == {"kind": "summary", "minutes": 3.0}


def test_a_run_that_fails_at_its_first_step_leaves_the_folder_to_the_mended_program(tmp_path):
    folder = tmp_path / "run"
    wide = splits(images=lambda xs: np.repeat(xs, 2, axis=1))
    with pytest.raises(ValueError, match="Expected one image of shape"):
        no.fit(mlp_model(), wide, folder=folder, resume=True, **how(epochs=1))
    assert not folder.exists()
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="Expected one image of shape"):
        no.fit(mlp_model(), wide, folder=folder, resume=True, **how(epochs=1))
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == ["notes.txt"]
    assert no.fit(mlp_model(), splits(), folder=folder, resume=True, **how(epochs=1)).progress.step == 6


def test_weights_that_an_update_made_infinite_are_not_saved(tmp_path):
    """The gradient is finite, the rate is not."""
    optimiser = optax.sgd(lambda step: jnp.where(step == 3, jnp.inf, 1e-3))
    with pytest.raises(no.NonFiniteLossError, match="the update of an earlier step"):
        no.fit(mlp_model(), splits(), folder=tmp_path, **how(optimiser=optimiser, checkpoint_seconds=0.0))
    result = no.fit(mlp_model(), splits(), folder=tmp_path, resume=True, **how(optimiser=ADAM_LIKE_SGD))
    assert result.progress.step == 18
    assert all(np.isfinite(a).all() for a in weights(result.model))


ADAM_LIKE_SGD = optax.sgd(lambda step: jnp.full_like(step, 1e-3, jnp.float32))


def test_a_model_with_an_infinite_weight_of_its_own_is_saved_all_the_same(tmp_path):
    """One that the loss does not see, so its gradient is zero."""

    class Masked(no.AbstractVectorField):
        inner: no.AbstractVectorField
        mask: jax.Array

        def encode(self, x, *, key=None):
            return self.inner.encode(x, key=key)

        def __call__(self, t, z, features):
            return self.inner(t, z, features)

    mask = jnp.full(2, -jnp.inf, jnp.float32)
    model = eqx.tree_at(lambda m: m.field, mlp_model(), replace_fn=lambda field: Masked(field, mask))
    no.fit(model, splits(), folder=tmp_path, **how(epochs=1))
    assert (tmp_path / "checkpoints/step-00000006.safetensors").exists()


def test_good_steps_of_a_call_that_fails_are_recorded(tmp_path):
    poisoned = iter(range(1000))

    def spoil(xs, *, key):
        return xs - 3e38 * (next(poisoned) == 4)

    with pytest.raises(no.NonFiniteLossError):
        no.fit(mlp_model(), splits(), folder=tmp_path, **how(augment=spoil, steps_per_call=3))
    steps = [r["step"] for r in no.read_records(tmp_path / "metrics.jsonl") if r["kind"] == "train"]
    assert steps == [1, 2, 3, 4]
    assert no.read_header(tmp_path / "checkpoints/step-00000004.safetensors")["progress"]["records"] == 4


def test_arrays_of_numpy_in_double_precision_do_not_keep_a_run_from_going_on(tmp_path):
    def model():
        return eqx.tree_at(lambda m: m.field.inputs.bias, mlp_model(), replace_fn=np.float64)

    for epochs in (1, 2):
        result = no.fit(model(), splits(), folder=tmp_path, resume=True, **how(epochs=epochs))
    assert result.progress.step == 12
    path = tmp_path / "model.safetensors"
    no.save_arrays(path, result.model)
    no.load_arrays(path, model())
    no.save_arrays(path, model())
    no.load_arrays(path, model())


def test_a_blockwise_optimiser_within_another_is_refused():
    def make(key):
        return no.nn.MLPField((2, 2, 1), 3, 3, width=8, time_size=4, key=key)

    model = no.NoPropDT(no.Blocks(make, 2, key=jr.key(0)), embedding=no.OneHot(3))
    optimiser = optax.chain(no.blockwise(adam()), optax.scale(0.5))
    with pytest.raises(ValueError, match=r"blockwise\(optax.chain"):
        no.fit(model, splits(), **how(optimiser=optimiser))


def test_a_smaller_last_batch_is_taken_alone():
    state = no.TrainState.create(mlp_model(), adam(), key=jr.key(0))
    batches = [blobs(8, seed=0), blobs(8, seed=1), blobs(8, seed=2), blobs(5, seed=3)]
    steps = [np.ravel(metrics.step).tolist() for _, metrics in no.train(state, batches, steps_per_call=2)]
    assert steps == [[1, 2], [3], [4]]


def test_json_lines_want_a_folder():
    with pytest.raises(no.RunError, match="without a folder"):
        no.fit(mlp_model(), splits(), callbacks=[no.JsonLines()], **how(epochs=1))


def test_an_infinite_last_update_is_told(tmp_path):
    """The last step of all, after which no gradient shows it."""
    optimiser = optax.sgd(lambda step: jnp.where(step == 5, jnp.inf, 1e-3))
    with pytest.raises(no.NonFiniteLossError, match="Weights are not finite after step 6"):
        no.fit(mlp_model(), splits(), folder=tmp_path, **how(optimiser=optimiser, epochs=1))
    steps = [r["step"] for r in no.read_records(tmp_path / "metrics.jsonl") if r["kind"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_signal_that_comes_at_the_very_end_is_not_forgotten(tmp_path):
    """It was acknowledged; whoever sent it does not expect the next run to begin."""

    def last(run, event):
        if isinstance(event, no.Stopped):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(no.Interrupted) as stop:
        no.fit(mlp_model(), splits(), folder=tmp_path, callbacks=[last], **how(epochs=1))
    assert stop.value.exit_code == 143
    assert no.fit(mlp_model(), splits(), folder=tmp_path, resume=True, **how(epochs=1)).progress.step == 6


def test_notes_may_be_numbers_of_numpy(tmp_path):
    def note(run, event):
        if isinstance(event, no.EpochEnded):
            run.progress.notes["best"] = np.float32(0.5)
            run.record("mine", value=jnp.asarray(0.25))

    no.fit(mlp_model(), splits(), folder=tmp_path, callbacks=[note], **how(epochs=1))
    newest = max((tmp_path / "checkpoints").glob("step-*"))
    assert no.read_header(newest)["progress"]["notes"] == {"best": 0.5}
    assert [r["value"] for r in no.read_records(tmp_path / "metrics.jsonl") if r["kind"] == "mine"] == [0.25]

    def strange(run, event):
        run.progress.notes["best"] = object()

    with pytest.raises(TypeError, match=r"Expected plain values.* got an object"):
        no.fit(mlp_model(), splits(), folder=tmp_path / "b", callbacks=[strange], **how(epochs=1))
