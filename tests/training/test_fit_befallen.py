"""Runs of `fit` that something befalls: what is kept, and what is taken back."""

import errno
import re
import sys
import time

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from fits import ADAM, how, splits, stop_at, weights
from helpers import adam, mlp_model

import noprop_ode as no
from noprop_ode._training import store as store_module
from noprop_ode._training.store import CheckpointStore


def test_a_run_that_is_stopped_within_an_epoch_ends_it_after_a_resume(tmp_path):
    """`stop` means after this epoch, whatever befalls the run until then."""

    def stop(run, event):
        if isinstance(event, no.Stepped) and run.progress.step == 8:
            run.stop()

    stops = [stop, stop_at(9)]
    with pytest.raises(no.Interrupted):
        no.fit(mlp_model(), splits(), folder=tmp_path, callbacks=stops, **how(epochs=9))
    result = no.fit(mlp_model(), splits(), folder=tmp_path, resume=True, callbacks=[stop], **how(epochs=9))
    assert result.progress.epoch == 2 and int(result.state.step) == 12


def test_notes_of_steps_that_are_taken_back_are_taken_back(monkeypatch):
    """Without a folder, too: there they are not read from a file."""

    def count(run, event):
        if isinstance(event, no.Stepped):
            run.progress.notes["steps"] = [*run.progress.notes.get("steps", []), run.progress.step]
            run.progress.notes.setdefault("all", []).append(run.progress.step)

    poisoned = iter(range(1000))

    def spoil(xs, *, key):
        return xs - 3e38 * (next(poisoned) == 8)  # the third step of the second epoch, once

    result = no.fit(mlp_model(), splits(), callbacks=[count], **how(augment=spoil, rollbacks=1))
    assert result.progress.rollbacks == 1
    assert result.progress.notes["all"] == result.progress.notes["steps"] == list(range(1, 19))


def test_records_are_counted_anew_after_a_power_cut(tmp_path):
    """A checkpoint is on the disk before the records that it counts: then fewer of them are there."""
    no.fit(mlp_model(), splits(), folder=tmp_path, **how(epochs=1))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("".join(lines[:-3]))
    result = no.fit(mlp_model(), splits(), folder=tmp_path, resume=True, **how(epochs=2))
    assert result.progress.records == len(no.read_records(tmp_path / "metrics.jsonl"))


def test_wall_seconds_are_of_all_sessions(tmp_path):
    def linger(run, event):
        if isinstance(event, no.Stepped) and run.progress.step == 8:
            time.sleep(1)

    with pytest.raises(no.Interrupted):
        no.fit(mlp_model(), splits(), folder=tmp_path, callbacks=[linger, stop_at(9)], **how(epochs=3))
    before = no.read_header(tmp_path / "checkpoints" / "step-00000009.safetensors")["progress"]["wall_seconds"]
    result = no.fit(mlp_model(), splits(), folder=tmp_path, resume=True, **how(epochs=3))
    assert 1 < before < result.progress.wall_seconds


def test_a_log_that_is_full_costs_no_run(tmp_path, monkeypatch):
    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name):
            return getattr(sys.__stderr__, name)

    monkeypatch.setattr(sys, "stderr", Full())
    result = no.fit(mlp_model(), splits(), folder=tmp_path, **how(epochs=1, progress=True))
    assert result.progress.step == 6


def test_a_run_without_a_folder_that_is_stopped_hands_over_what_it_has():
    with pytest.raises(no.Interrupted) as stop:
        no.fit(mlp_model(), splits(), callbacks=[stop_at(4)], **how())
    assert int(stop.value.state.step) == 4
    longer = no.fit(stop.value.state.model, splits(), **how(epochs=1))  # its arrays are there
    assert longer.progress.step == 6


def test_an_interrupted_run_passes_by_those_who_catch_every_exception_and_says_where_it_is(tmp_path):
    """A sweep that goes on with the next seed whatever befalls one must end with Ctrl-C."""
    for folder, told in ((tmp_path, rf"saved in {tmp_path}; .*resume=True"), (None, "the last `state`")):
        with pytest.raises(KeyboardInterrupt, match=rf"^SIGTERM: stopped after step 4\. .*{told}") as stop:
            try:
                no.fit(mlp_model(), splits(), folder=folder, callbacks=[stop_at(4)], **how())
            except Exception:
                pytest.fail("it was caught")
        assert isinstance(stop.value, no.Interrupted) and stop.value.signal == "SIGTERM"


def test_another_optimiser_at_a_resume_is_told(tmp_path):
    with pytest.raises(no.Interrupted):
        no.fit(mlp_model(), splits(), folder=tmp_path, callbacks=[stop_at(4)], **how())
    with pytest.raises(no.RunError, match="was saved with another optimiser"):
        no.fit(mlp_model(), splits(), folder=tmp_path, resume=True, **how(optimiser=optax.sgd(0.1)))


def test_what_is_rescued_from_a_folder_that_vanished_says_its_step(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def vanish(run, event):
        if isinstance(event, no.Stepped) and run.progress.step == 8:
            (tmp_path / "a").rename(tmp_path / "b")

    with pytest.raises(no.RunError) as lost:
        no.fit(mlp_model(), splits(), folder=tmp_path / "a", callbacks=[vanish], **how())
    path = re.search(r"is kept in (\S+)\.$", str(lost.value))[1]
    state = no.load_arrays(path, no.TrainState.create(mlp_model(), ADAM, key=jr.key(0)))
    assert int(state.step) == no.read_header(path)["progress"]["step"] == 9


@pytest.mark.parametrize("folder", [True, False], ids=["folder", "memory"])
@pytest.mark.parametrize("step", [8, 12, 18], ids=["within an epoch", "at its end", "at the end of all"])
def test_a_diverging_run_goes_back_and_slows_down(step, folder, tmp_path):
    count = iter(range(1000))

    def update(updates, state, params=None):
        # In one step the weights are lost, once; what comes after the last of an epoch looks at them, too.
        factor = jax.pure_callback(
            lambda: np.float32(np.inf if next(count) == step - 1 else 1), jax.ShapeDtypeStruct((), jnp.float32)
        )
        updates, state = ADAM.update(updates, state, params)
        return jax.tree.map(lambda u: u * factor, updates), state

    optimiser = optax.GradientTransformation(ADAM.init, update)
    result = no.fit(mlp_model(), splits(), folder=tmp_path if folder else None, **how(rollbacks=1, optimiser=optimiser))
    assert result.progress.rollbacks == 1 and result.progress.rate_scale == 0.5
    assert int(result.state.step) == 18
    assert all(np.isfinite(a).all() for a in weights(result.model))


def test_a_diverging_run_stops_with_its_last_good_weights(tmp_path):
    with pytest.raises(no.NonFiniteLossError, match="step"):
        no.fit(mlp_model(), splits(), folder=tmp_path, **how(optimiser=adam(1e30)))
    newest = max((tmp_path / "checkpoints").glob("step-*"))
    assert no.read_header(newest)["progress"]["step"] >= 1
    state = no.TrainState.create(mlp_model(), adam(), key=jr.key(0))
    assert all(np.isfinite(a).all() for a in weights(no.load_arrays(newest, state).model))


def test_no_checkpoint_goes_before_another_is_there(tmp_path, monkeypatch):
    """Where a run goes back, a kill may come at any moment."""
    store = CheckpointStore(no.RunFolder(tmp_path), keep=2)
    for step in (7, 9):
        store.save_step(step, jnp.zeros(2), {})
    monkeypatch.setattr(store_module, "_remove", lambda path: seen.append([p.name for p in store.steps()]))
    seen = []
    store.save_step(6, jnp.zeros(2), {}, newest=True)
    assert all("step-00000006.safetensors" in names for names in seen) and len(seen) >= 2
    monkeypatch.undo()
    store.prune(6)
    assert [p.name for p in store.steps()] == ["step-00000006.safetensors"]
    store.folder.close()


def test_a_run_that_goes_back_still_stops(tmp_path):
    """A callback that has said so once need not say it again."""
    poisoned, told = iter(range(1000)), []

    def stop(run, event):
        if isinstance(event, no.Stepped) and run.progress.step == 8 and not told:
            told.append(run.progress.step)
            run.stop()

    def spoil(xs, *, key):
        return xs - 3e38 * (next(poisoned) == 8)

    result = no.fit(mlp_model(), splits(), callbacks=[stop], **how(epochs=9, augment=spoil, rollbacks=1))
    assert result.progress.rollbacks == 1 and result.progress.epoch == 2


def test_a_run_whose_best_model_was_removed_ends_all_the_same(tmp_path, capsys):
    no.fit(mlp_model(), splits(), folder=tmp_path, **how(epochs=1))
    (tmp_path / "checkpoints" / "best.safetensors").unlink()
    found = no.fit(mlp_model(), splits(), folder=tmp_path, resume=True, **how(epochs=1))
    assert found.best_model is None and found.progress.epoch == 1
    assert "the best model, of epoch 1, is lost" in capsys.readouterr().err


def test_blocks_go_back_too_at_half_the_rate_and_the_run_can_be_resumed(tmp_path):
    def make(key):
        return no.nn.MLPField((2, 2, 1), 3, 3, width=8, time_size=4, key=key)

    def model():
        return no.NoPropDT(no.Blocks(make, 3, key=jr.key(0)), embedding=no.OneHot(3))

    calls = iter(range(1000))

    def spoil(xs, *, key):
        return xs - 3e38 * (next(calls) == 4)

    found = no.fit(model(), splits(), folder=tmp_path, **how(epochs=1, augment=spoil, rollbacks=1))
    assert (found.progress.rollbacks, found.progress.rate_scale, found.progress.step) == (1, 0.5, 6)
    slower = no.fit(model(), splits(), **how(epochs=1, augment=lambda xs, *, key: xs, optimiser=adam(5e-3)))
    for a, b in zip(weights(found.model), weights(slower.model), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    again = no.fit(model(), splits(), folder=tmp_path, resume=True, **how(epochs=2, augment=spoil, rollbacks=1))
    assert again.progress.step == 12


def test_an_optimiser_of_blocks_may_be_made_again_from_its_functions():
    """As loading into a structure does, and every map over a PyTree."""
    optimiser = no.blockwise(adam())
    again = jax.tree.unflatten(*reversed(jax.tree.flatten(optimiser)))
    assert type(again) is type(optimiser)
    assert again.of_active.update is optimiser.of_active.update is not optimiser.update
    assert optimiser._replace(init=optimiser.init).of_active.update is optimiser.of_active.update
