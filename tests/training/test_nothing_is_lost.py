"""A run leaves every file as it was that it did not write itself, whatever its folder held before."""

import errno
import json
import os
import stat
import types
from pathlib import Path

import jax.numpy as jnp
import pytest
from helpers import adam, blobs, mlp_model, modest
from hypothesis import given, strategies as st

import noprop_ode as no
from noprop_ode._training.checkpoint import _Reader


ADAM = adam()


def fit(folder, **changes):
    xs, ys = blobs(20)
    part = types.SimpleNamespace(images=xs, labels=ys)
    data = types.SimpleNamespace(train=part, validation=part)
    return no.fit(mlp_model(), data, optimiser=ADAM, epochs=1, batch_size=10, folder=folder, progress=False, **changes)


def everything(folder: Path) -> dict[str, object]:
    """What is in a folder: files by content, links by target."""
    found = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


NAMES = st.sampled_from(
    [
        ".env",
        ".bashrc",
        ".gitignore",
        ".metrics.jsonl.123",
        ".noprop_ode-notes",
        "metrics.jsonl",
        "summary.json",
        "notes.txt",
        "checkpoints/.hidden",
        "checkpoints/step-00000001.safetensors",
        "checkpoints/mine.txt",
        ".git/config",
        "lock",
        "model.safetensors",
    ]
)


@modest
@given(st.sets(NAMES), st.booleans())
def test_whatever_the_folder_held_stays(tmp_path_factory, names, resume):
    folder = tmp_path_factory.mktemp("held")
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"this is {name}")
    before = everything(folder)
    try:
        fit(folder, resume=resume)
    except no.RunError as error:
        assert set(names) & {"metrics.jsonl", *(n for n in names if n.startswith("checkpoints"))}, error
    after = everything(folder)
    assert {name: after.get(name) for name in before} == before


def test_links_are_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in (".env", ".noprop_ode-x.1.tmp", "step-00000009.safetensors"):
        (elsewhere / name).write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "checkpoints").symlink_to(elsewhere)
    before = everything(elsewhere)
    for resume in (False, True):
        with pytest.raises(no.RunError, match="symbolic link"):
            fit(folder, resume=resume)
    assert everything(elsewhere) == before


def test_a_link_in_the_place_of_a_file_is_replaced_not_written_through(tmp_path):
    (tmp_path / "mine").write_text("mine")
    path = tmp_path / "out.safetensors"
    path.symlink_to(tmp_path / "mine")
    no.save_arrays(path, mlp_model())
    assert (tmp_path / "mine").read_text() == "mine" and not path.is_symlink()


def test_only_leftovers_of_our_own_are_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir(parents=True)
    target = tmp_path / "target"
    target.write_text("mine")
    names = (".noprop_ode-metrics.jsonl.77.tmp", ".noprop_ode-flags.json.77.0a1b2c3d.tmp")
    ours = [*(tmp_path / name for name in names), tmp_path / "checkpoints" / ".noprop_ode-x.safetensors.1.tmp"]
    for path in ours:
        path.write_text("half")
    (tmp_path / ".noprop_ode-link.7.tmp").symlink_to(target)
    (tmp_path / ".noprop_ode-folder.8.tmp").mkdir()
    fit(tmp_path)
    assert not any(path.exists() for path in ours)
    assert target.read_text() == "mine"
    assert (tmp_path / ".noprop_ode-link.7.tmp").is_symlink() and (tmp_path / ".noprop_ode-folder.8.tmp").is_dir()


def test_checkpoints_of_another_run_are_not_taken_for_ones_own(tmp_path):
    fit(tmp_path / "other")
    (tmp_path / "new").mkdir()
    (tmp_path / "other" / "checkpoints").rename(tmp_path / "new" / "checkpoints")
    before = everything(tmp_path / "new")
    with pytest.raises(no.RunError, match="already holds checkpoints"):
        fit(tmp_path / "new")
    after = everything(tmp_path / "new")
    after.pop(".noprop_ode.lock", None)
    assert after == before


def test_a_folder_made_for_nothing_goes_away(tmp_path):
    def fail(run, event):
        raise no.RunError("before anything was written")

    with pytest.raises(no.RunError):
        with no.RunFolder(tmp_path / "new"):
            raise no.RunError("a failed start")
    assert not (tmp_path / "new").exists()


def test_a_link_to_nowhere_is_told(tmp_path):
    (tmp_path / "runs").symlink_to(tmp_path / "not-mounted")
    with pytest.raises(no.RunError, match="Cannot make the folder"):
        no.RunFolder.numbered(tmp_path / "runs", "x")


@pytest.mark.parametrize(("number", "there"), [(errno.EACCES, True), (errno.ESTALE, False)])
def test_a_file_system_that_fails_for_a_moment_has_not_lost_the_folder(number, there, tmp_path, monkeypatch):
    with no.RunFolder(tmp_path / "a") as folder:
        with monkeypatch.context() as patch:
            patch.setattr(no.RunFolder, "_look", lambda self: (_ for _ in ()).throw(OSError(number, "no")))
            assert folder.is_there == there
        assert folder.is_there


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX alone")
def test_a_folder_that_cannot_be_synced_is_written_all_the_same(tmp_path, monkeypatch):
    sync = os.fsync

    def fail(handle, number):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        sync(handle)

    monkeypatch.setattr(os, "fsync", lambda handle: fail(handle, errno.EINVAL))
    with no.RunFolder(tmp_path) as folder:
        folder.write("x", b"1")
        monkeypatch.setattr(os, "fsync", lambda handle: fail(handle, errno.EIO))
        with pytest.raises(no.RunError):
            folder.write("x", b"2")


def test_a_file_that_is_replaced_while_it_is_read_is_not_damaged(tmp_path):
    path = tmp_path / "m.safetensors"
    no.save_arrays(path, {"a": jnp.zeros(3)})
    with _Reader(path) as file:
        no.save_arrays(path, {"a": jnp.ones(3)})
        with pytest.raises(no.CheckpointError, match="replaced by another file while it was read"):
            file.check_data()


@pytest.mark.parametrize(
    "lines",
    [
        b'{"kind": "train", "step": 1}\n' + b"[" * 100_000 + b"\n",
        b'{"kind": "train", "step": ' + b"9" * 10_000 + b"}\n",
        b"\xff\xfe\n\x00\n",
        b'{"kind": 3}\n["kind"]\nnull\n{"kind": "train"',
    ],
    ids=["deep", "digits", "bytes", "cut off"],
)
def test_damaged_metrics_are_read_as_far_as_they_go(lines, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(lines)
    found = no.read_records(tmp_path / "metrics.jsonl")
    assert all(isinstance(record["kind"], str) for record in found)
    json.dumps(found)
