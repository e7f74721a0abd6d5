"""Checkpoints made by somebody else: their checksums are right, and what they say is not."""

import hashlib
import json
import random
import struct
from copy import deepcopy

import equinox as eqx
import jax.numpy as jnp
import pytest

import noprop_ode as no


TREE = {
    "a": jnp.arange(6, dtype=jnp.float32).reshape(2, 3),
    "b": jnp.ones(4, jnp.int32),
    "c": jnp.zeros((), jnp.float32),
}
NAMES = {"F32": "float32", "I32": "int32"}


def parts(content: bytes) -> tuple[dict, bytes]:
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def signed(header: dict, data: bytes, pairs=None) -> bytes:
    """A file of this header and these arrays, with checksums as we would write them; `pairs` may repeat a name."""
    described = sorted(
        [name, NAMES.get(entry.get("dtype"), entry.get("dtype")), entry.get("shape")]
        for name, entry in header.items()
        if name != "__metadata__" and isinstance(entry, dict)
    )
    metadata = header.get("__metadata__")
    if isinstance(metadata, dict) and isinstance(metadata.get("content"), str):
        metadata["arrays"] = hashlib.sha256(data).hexdigest()
        signature = json.dumps([metadata["content"], metadata["arrays"], described])
        metadata["header"] = hashlib.sha256(signature.encode()).hexdigest()
    items = [*header.items(), *(pairs or [])]
    text = "{" + ",".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in items) + "}"
    return struct.pack("<Q", len(text)) + text.encode() + data


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "x.safetensors"
    no.save_arrays(path, TREE, {"note": 1})
    return parts(path.read_bytes())


def copy(header: dict) -> dict:
    return json.loads(json.dumps(header))


def outcome(content: bytes, path) -> str:
    path.write_bytes(content)
    try:
        found = no.load_arrays(path, TREE)
        assert isinstance(no.read_header(path), dict)
    except no.CheckpointError as error:
        assert str(path) in str(error) and len(str(error)) < 1000
        return "refused"
    assert all(found[k].shape == TREE[k].shape and found[k].dtype == TREE[k].dtype for k in TREE)
    return "loaded" if not eqx.tree_equal(found, TREE) else "the same"


def test_what_is_signed_anew_and_unchanged_loads(good, tmp_path):
    header, data = good
    assert outcome(signed(copy(header), data), tmp_path / "x") == "the same"


def test_doubled_names_trailing_bytes_holes_and_negative_sizes_are_refused(good, tmp_path):
    header, data = good
    (key,) = [k for k in header if "'a'" in k]
    doubled = {**header[key], "data_offsets": [len(data), len(data) + 24]}
    cases = [signed(copy(header), data + bytes(24), pairs=[(key, doubled)]), signed(copy(header), data + b"more")]
    for change in (
        {"shape": [-2, -3]},
        {"shape": [2, 3, 0]},
        {"shape": [2**62, 8]},
        {"shape": ["2", 3]},
        {"data_offsets": [8, 32]},
        {"data_offsets": [24, 0]},
        {"data_offsets": [-24, 0]},
        {"dtype": "F64"},
        {"dtype": "nonsense"},
    ):
        changed = copy(header)
        changed[key] |= change
        cases.append(signed(changed, data))
    for content in ("[1", "[]", "3", "[" * 100_000, "9" * 10_000):
        changed = copy(header)
        changed["__metadata__"]["content"] = content
        cases.append(signed(changed, data))
    for case in cases:
        assert outcome(case, tmp_path / "x") == "refused"


def test_a_file_that_claims_to_be_large_takes_no_memory(good, tmp_path):
    """Forty gigabytes of nothing, which the file system does not store, and the header claims for an array."""
    header, data = good
    changed, size = copy(header), 40 * 2**30
    (key,) = [k for k in changed if "'a'" in k]
    changed[key] |= {"shape": [size // 4], "data_offsets": [len(data), len(data) + size]}
    content = signed(changed, data)
    path = tmp_path / "x"
    path.write_bytes(content)
    try:
        with open(path, "r+b") as file:
            file.truncate(len(content) + size)
    except OSError:
        pytest.skip("the file system has no sparse files")
    with pytest.raises(no.CheckpointError):
        no.load_arrays(path, TREE)


HOSTILE = [None, True, -1, 0, 2**63, 10**400, 1.5, "", "\0", "\udcff", [], {}, [[]], "F32", "9" * 300, {"a": 1}]


def mutated(good, rng: random.Random) -> bytes:
    header, data = copy(good[0]), bytearray(good[1])
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(list(header) or ["x"])
        entry = header.get(name)
        kind = rng.randrange(7)
        if kind == 0:
            header[name] = deepcopy(rng.choice(HOSTILE))
        elif kind == 1 and isinstance(entry, dict) and entry:
            entry[rng.choice(list(entry))] = deepcopy(rng.choice(HOSTILE))
        elif kind == 2 and isinstance(entry, dict) and isinstance(entry.get("data_offsets"), list):
            entry["data_offsets"] = [rng.randrange(-8, 60), rng.randrange(-8, 60)]
        elif kind == 3 and isinstance(entry, dict) and isinstance(entry.get("shape"), list):
            entry["shape"] = [rng.randrange(-1, 7) for _ in range(rng.randrange(4))]
        elif kind == 4:
            header.pop(name, None)
        elif kind == 5:
            header[rng.choice(["x", name + "x"])] = deepcopy(rng.choice([entry, rng.choice(HOSTILE)]))
        elif data:
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    try:
        return signed(header, bytes(data))
    except TypeError:  # parts that cannot be put in an order: unsigned, then
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + bytes(data)


def run(good, path, cases: range) -> dict[str, int]:
    found: dict[str, int] = {}
    for case in cases:
        how = outcome(mutated(good, random.Random(case)), path)
        found[how] = found.get(how, 0) + 1
    return found


def test_a_sample_of_signed_mutations(good, tmp_path):
    found = run(good, tmp_path / "x", range(1000))
    assert found["refused"] > 500 and found["loaded"] > 10, found


@pytest.mark.slow
def test_a_hundred_thousand_signed_mutations(good, tmp_path):
    print(run(good, tmp_path / "x", range(100_000)))
