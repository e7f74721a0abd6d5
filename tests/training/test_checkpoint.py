"""Checkpoints: what was saved comes back, and nothing else is taken for it."""

import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import safetensors.numpy
from helpers import modest
from hypothesis import given, strategies as st

from noprop_ode import CheckpointError, RunError, load_arrays, read_header, save_arrays


TREE = {
    "a": jnp.arange(6, dtype=jnp.float32).reshape(2, 3),
    "b": [jnp.ones(4, jnp.bfloat16), "text", jnp.zeros((0, 2), jnp.int32)],
    "key": jr.split(jr.key(3), 2),
    "flag": jnp.asarray(True),
}


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "x.safetensors"
    save_arrays(path, TREE, {"note": 1})
    return path.read_bytes()


def plain(leaf):
    return np.asarray(jr.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


def test_round_trip(tmp_path):
    path = tmp_path / "x.safetensors"
    save_arrays(path, TREE, {"note": 1})
    assert read_header(path) == {"note": 1}
    like = jax.eval_shape(lambda: {**TREE, "b": [TREE["b"][0], TREE["b"][2]]})
    like["b"].insert(1, "text")
    found = load_arrays(path, like)
    assert found["b"][1] == "text"
    for new, old in zip(jax.tree.leaves(found), jax.tree.leaves(TREE), strict=True):
        if not isinstance(new, str):
            assert new.dtype == old.dtype and new.shape == old.shape
            np.testing.assert_array_equal(plain(new), plain(old))
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]


def peak(function) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_save_takes_the_memory_of_one_copy(tmp_path):
    tree = {"a": np.ones(2**20, np.float32), "b": np.ones(2**20, np.float32)}
    save_arrays(tmp_path / "x", TREE, {})  # what it imports is not counted
    assert peak(lambda: save_arrays(tmp_path / "x", tree, {})) < 1.25 * peak(lambda: safetensors.numpy.save(tree))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({**TREE, "a": jnp.zeros((3, 2))}, r"float32\[2, 3\], but the model expects float32\[3, 2\]"),
        ({**TREE, "a": jnp.zeros((2, 3), jnp.int32)}, "expects int32"),
        ({**TREE, "key": jr.key(0)}, r"expects uint32\[2\]"),
        ({"a": TREE["a"]}, "which the model lacks"),
        ({**TREE, "c": jnp.zeros(1)}, "lacks .*'c'"),
    ],
    ids=["shape", "dtype", "key", "extra", "missing"],
)
def test_what_does_not_fit_is_refused(tmp_path, other, message):
    save_arrays(tmp_path / "x", TREE, {})
    with pytest.raises(CheckpointError, match=message):
        load_arrays(tmp_path / "x", other)


def refused(content: bytes, folder: Path) -> bool:
    path = folder / "damaged"
    path.write_bytes(content)
    try:
        load_arrays(path, TREE)
    except CheckpointError as error:
        return str(path) in str(error)
    return False


def test_every_flipped_bit_and_every_truncation_is_refused(content, tmp_path):
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position % 8)
        assert refused(bytes(flipped), tmp_path), f"byte {position}"
        assert refused(content[:position], tmp_path), f"cut at {position}"
    assert not refused(content, tmp_path)


@modest
@given(st.data())
def test_any_other_bytes_are_refused(content, tmp_path_factory, data):
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, min(len(content), start + 40)))
    changed = content[:start] + data.draw(st.binary(max_size=40)) + content[stop:]
    assert refused(changed, tmp_path_factory.getbasetemp()) == (changed != content)


@pytest.mark.parametrize("foreign", [b"", b"PK\x03\x04 a zip", b"\x80\x04 a pickle", b"noprop_ode checkpoint 2\n"])
def test_foreign_files_are_refused(tmp_path, foreign):
    (tmp_path / "x").write_bytes(foreign)
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        read_header(tmp_path / "x")


def test_no_file_and_no_place_for_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        read_header(tmp_path / "none")
    with pytest.raises(CheckpointError, match="is not a file"):
        read_header(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Could not write"):
        save_arrays(tmp_path / "file" / "x", TREE, {})
