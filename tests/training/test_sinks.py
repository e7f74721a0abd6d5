"""Records of runs that go on or go back, in TensorBoard and W&B: each step is there once, as it was last made."""

import struct
import sys
import types

import pytest
from fits import how, splits
from helpers import mlp_model

import noprop_ode as no


def losses(folder):
    """What TensorBoard shows, read as it reads: a file after the other, and where a session starts, later steps go."""
    events = pytest.importorskip("tensorboardX.proto.event_pb2")
    shown = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (size,) = struct.unpack_from("<Q", content, at)
            event = events.Event.FromString(content[at + 12 : at + 12 + size])
            at += 16 + size
            if event.session_log.status == events.SessionLog.START:
                shown = {step: values for step, values in shown.items() if step < event.step}
            for value in event.summary.value:
                if value.tag == "train/loss":
                    shown.setdefault(event.step, []).append(value.simple_value)
    return shown


def kept(folder):
    found = {r["step"]: [pytest.approx(r["loss"])] for r in no.read_records(folder / "metrics.jsonl") if "loss" in r}
    assert list(found) == list(range(1, len(found) + 1))
    return found


def test_tensorboard_shows_a_step_once_whatever_befell_the_run(tmp_path):
    pytest.importorskip("tensorboardX")

    def fit(**changes):
        callbacks = [no.TensorBoard()]
        return no.fit(mlp_model(), splits(), folder=tmp_path, callbacks=callbacks, **how(rollbacks=1, **changes))

    fit(epochs=2)
    (newest,) = (tmp_path / "checkpoints").glob("*12.safetensors")
    newest.unlink()  # as if killed before the second epoch was saved
    poisoned = iter(range(1000))

    def spoil(xs, *, key):
        return xs - 3e38 * (next(poisoned) == 8)  # the third step of the second epoch of these, once

    result = fit(resume=True, epochs=4, augment=spoil)
    assert result.progress.rollbacks == 1
    assert losses(tmp_path / "tensorboard") == kept(tmp_path)


def test_wandb_goes_on_with_its_run(tmp_path, monkeypatch):
    """Against a stand-in, because the package wants an account or a local service."""
    begun, logged = [], []

    def init(**how):
        begun.append((how["id"], how["resume"]))
        return types.SimpleNamespace(
            define_metric=lambda name, step_metric: None, log=logged.append, finish=lambda: None
        )

    wandb = types.ModuleType("wandb")
    wandb.init = init
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for name, epochs in (("one", 1), ("one", 2), ("other", 1)):
        callbacks = [no.WeightsAndBiases()]
        no.fit(mlp_model(), splits(), folder=tmp_path / name, resume=True, callbacks=callbacks, **how(epochs=epochs))
    first, again, other = begun
    assert first == again != other and first[1] == "allow"
    assert [values["step"] for values in logged if "train/loss" in values] == [*range(1, 13), *range(1, 7)]
