"""Decoded images kept between runs: used, renewed, and decoded again when damaged."""

import os
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tfds_folders import arrays, make_folder

from noprop_ode import data
from noprop_ode.data import _cache, _tfds


def count_decodes(monkeypatch):
    calls = []
    decode = _tfds.PreparedFolder._decode
    monkeypatch.setattr(_tfds.PreparedFolder, "_decode", lambda s, *a: (calls.append(a), decode(s, *a))[1])
    return calls


def test_cache_is_used_and_renewed(tmp_path, monkeypatch):
    parts, folder = make_folder(tmp_path, train=20, test=8)
    calls = count_decodes(monkeypatch)
    data.load("toys", data_dir=tmp_path)
    data.load("toys", data_dir=tmp_path, seed=1)
    assert len(calls) == 2
    for damage in (b"", b"no archive", b"PK\x03\x04 cut short"):
        for file in (tmp_path / "cache").iterdir():
            file.write_bytes(damage)
        calls.clear()
        splits = data.load("toys", data_dir=tmp_path, validation=0)
        np.testing.assert_array_equal(splits.train.images, parts["train"][0])
        assert len(calls) == 2
    # Half of a real cache file, then one whose bytes are flipped in the middle.
    for file in (tmp_path / "cache").iterdir():
        content = file.read_bytes()
        flipped = bytearray(content)
        flipped[500] ^= 255
        for damaged in (content[: len(content) // 2], bytes(flipped)):
            file.write_bytes(damaged)
            splits = data.load("toys", data_dir=tmp_path, validation=0)
            np.testing.assert_array_equal(splits.train.images, parts["train"][0])
    calls.clear()
    data.load("toys", data_dir=tmp_path)
    assert calls == []
    os.utime(folder / "dataset_info.json", (1, 1))
    data.load("toys", data_dir=tmp_path)
    assert len(calls) == 2
    assert not list((tmp_path / "cache").glob("*.tmp"))


def bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", bytes(2**27))


def giant(path):
    # A header that says 2^60 images, on a sparse file whose length does not agree.
    header = _cache._HEADER.pack(_cache._MAGIC, 20, 2**20, 2**20, 2**20, 0)
    path.write_bytes(header)
    os.truncate(path, 2**36)


def wrapped(path):
    # Lengths whose product is small only in 64 bits.
    header = _cache._HEADER.pack(_cache._MAGIC, 20, 2**32, 2**32, 1, 0)
    path.write_bytes(header + bytes(80))


def consistent(path):
    # Sparse, of the length that the header says, and too long for memory; its checksum is wrong.
    header = _cache._HEADER.pack(_cache._MAGIC, 20, 2**11, 2**11, 4, 7)
    path.write_bytes(header)
    os.truncate(path, _cache._HEADER.size + 80 + 20 * 2**24)


def another_archive(path):
    np.savez(path.with_suffix(".npz"), images=np.array(["(" * 500]), labels=np.zeros(20, np.int32))
    path.with_suffix(".npz").replace(path)


def other_count(path):
    with open(path, "wb") as file:
        _cache._write_arrays(file, np.zeros((19, 6, 5, 3), np.uint8), np.zeros(19, np.int32))


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [bomb, giant, wrapped, consistent, another_archive, other_count, a_folder, a_pipe],
    ids=lambda f: f.__name__,
)
@pytest.mark.filterwarnings("ignore:cannot keep decoded images")
def test_a_cache_damaged_in_any_way_is_decoded_again_in_little_memory(tmp_path, damage):
    parts, _ = make_folder(tmp_path, train=20, test=8)
    data.load("toys", data_dir=tmp_path)
    (path,) = (tmp_path / "cache").glob("*train*")
    damage(path)
    tracemalloc.start()
    try:
        splits = data.load("toys", data_dir=tmp_path, validation=0)
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(splits.train.images, parts["train"][0])
    np.testing.assert_array_equal(splits.train.labels, parts["train"][1])


def test_every_changed_byte_of_a_cache_is_noticed(tmp_path):
    images, labels = arrays(7)
    labels = labels.astype(np.int32)
    path = tmp_path / "cache" / "key.images"
    made = _cache.cached("key", 7, lambda: (images, labels))
    assert made[0] is images
    content = path.read_bytes()
    for at in np.random.default_rng(0).choice(len(content), 200, replace=False):
        changed = bytearray(content)
        changed[at] ^= 1 << (at % 8)
        path.write_bytes(bytes(changed))
        assert _cache._read(path, 7) is None
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert _cache._read(path, 7) is None
    path.write_bytes(content)
    found = _cache._read(path, 7)
    assert found is not None
    np.testing.assert_array_equal(found[0], images)
    np.testing.assert_array_equal(found[1], labels)


def test_unwritable_cache_warns_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NOPROP_ODE_CACHE", str(tmp_path / "file" / "cache"))
    _cache.warn_once.cache_clear()
    make_folder(tmp_path, train=20, test=8)
    with pytest.warns(UserWarning, match="NOPROP_ODE_CACHE") as caught:
        data.load("toys", data_dir=tmp_path)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(data.load("toys", data_dir=tmp_path).test) == 8


def test_a_user_without_a_home_decodes_on_every_load(tmp_path, monkeypatch):
    for name in ("HOME", "NOPROP_ODE_CACHE", "XDG_CACHE_HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it is for a number that has no name
    _cache.warn_once.cache_clear()
    make_folder(tmp_path, train=20, test=8)
    with pytest.warns(UserWarning, match="no home folder"):
        assert len(data.load("toys", data_dir=tmp_path).test) == 8
    with pytest.raises(data.DatasetError, match="no home folder"):
        data.load("toys")
    with pytest.raises(data.DatasetError, match="is not prepared"):
        data.load("mnist", data_dir=tmp_path)


def test_what_killed_processes_left_is_deleted_when_it_is_old(tmp_path):
    old, new, other = (tmp_path / name for name in (".noprop_ode-a.tmp", ".noprop_ode-b.tmp", "c.tmp"))
    for path in (old, new, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (0, 0))
    images, labels = np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.int32)
    _cache._write(tmp_path / "d.images", (images, labels))
    assert sorted(tmp_path.iterdir()) == sorted([new, other, tmp_path / "d.images"])


def test_where_the_cache_is(monkeypatch):
    monkeypatch.delenv("NOPROP_ODE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert _cache.cache_dir() == Path("/x/noprop_ode")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert _cache.cache_dir() == Path("~/.cache/noprop_ode").expanduser()
