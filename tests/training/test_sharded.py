"""Checkpoints in parts, on one device: what goes in comes out, damage is refused, and runs go on from either kind."""

import gc
import shutil

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from fits import ADAM, weights
from helpers import blobs

import noprop_ode as no


pytest.importorskip("orbax.checkpoint")
from noprop_ode._training.sharded import _sums, check_parts, load_parts, read_parts_header, save_parts


# Orbax drops the other reads where one fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", autouse=True)
def left_behind():
    """What Orbax abandons where it fails complains when it is collected: here, and not in a test of another file."""
    yield
    gc.collect()


TREE = {
    "weights": jnp.arange(12.0).reshape(3, 4),
    "half": jnp.ones(3, jnp.bfloat16),
    "step": jnp.asarray(3, jnp.int32),
    "key": jr.key(7),
    "name": "left as it is",
}
LIKE = {**TREE, "weights": jnp.zeros((3, 4)), "half": jnp.zeros(3, jnp.bfloat16), "key": jr.key(0)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "step-00000003"
    save_parts(path, TREE, {"progress": {"step": 3}})
    return path


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def loaded(path, like):
    return load_parts(path, like, check_parts(path, like))


def test_arrays_and_random_keys_come_back(saved):
    found, metadata = loaded(saved, LIKE)
    for name in ("weights", "half", "step"):
        np.testing.assert_array_equal(found[name], TREE[name])
        assert found[name].dtype == TREE[name].dtype
    np.testing.assert_array_equal(jr.key_data(found["key"]), jr.key_data(TREE["key"]))
    assert found["name"] == "left as it is"
    assert metadata == {"progress": {"step": 3}} == read_parts_header(saved)


@pytest.mark.parametrize(
    "like, message",
    [
        ({**LIKE, "weights": jnp.zeros((3, 5))}, "the model expects float32"),
        ({**LIKE, "weights": jnp.zeros((3, 4), jnp.int32)}, "the model expects int32"),
        ({**LIKE, "more": jnp.zeros(1)}, "lacks .*more"),
        ({k: v for k, v in LIKE.items() if k != "half"}, "holds .*half"),
    ],
)
def test_another_model_is_refused(saved, like, message):
    with pytest.raises(no.CheckpointError, match=message):
        loaded(saved, like)


def test_no_checkpoint_or_damaged_metadata_are_refused(copy, tmp_path):
    with pytest.raises(no.CheckpointError, match="no checkpoint in parts"):
        loaded(tmp_path / "nowhere", LIKE)
    file = copy / "metadata" / "metadata"
    good = file.read_text()
    assert '"step\\": 3' in good
    for text in ("[1]", "{", "{}", good.replace('"step\\": 3', '"step\\": 4'), good[:-9], "[" * 100_000):
        file.write_text(text)
        for read in (read_parts_header, lambda path: loaded(path, LIKE)):
            with pytest.raises(no.CheckpointError, match="damaged"):
                read(copy)


def test_no_byte_changes_unseen(copy):
    """Every file is changed at some place or cut short; what loads all the same is what was saved."""
    files = [path for path in copy.rglob("*") if path.is_file() and path.stat().st_size]
    refused = 0
    for i, file in enumerate(files):
        whole = file.read_bytes()
        place = (7919 * i) % len(whole)
        for changed in (whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :], whole[: len(whole) // 2]):
            file.write_bytes(changed)
            try:
                found, metadata = loaded(copy, LIKE)
            except no.CheckpointError:
                refused += 1
            else:
                assert metadata == {"progress": {"step": 3}}
                for name in ("weights", "half", "step"):
                    np.testing.assert_array_equal(found[name], TREE[name])
        file.write_bytes(whole)
    assert refused > 3


@pytest.mark.parametrize("dtype", [bool, jnp.uint8, jnp.int32, jnp.bfloat16, jnp.float32])
def test_the_sum_sees_a_changed_or_moved_number(dtype):
    array = jnp.arange(1, 13).reshape(3, 4).astype(dtype) if dtype is not bool else jnp.eye(3, 4, dtype=bool)
    changed = np.array(array)
    changed[1, 2] = not changed[1, 2]
    sums = [int(_sums({"a": other})["a"]) for other in (array, jnp.asarray(changed), array[::-1])]
    assert len(set(sums)) == 3


def train(folder, parallel, epochs, **settings):
    xs, ys = blobs(40)
    field = no.nn.MLPField((2, 2, 1), 3, 3, width=8, time_size=4, key=jr.key(0))
    model = no.NoPropCT(field, embedding=no.OneHot(3), key=jr.key(1))
    splits = no.data.from_arrays(xs, ys, validation=8)
    return no.fit(
        model,
        splits,
        optimiser=ADAM,
        epochs=epochs,
        batch_size=8,
        folder=folder,
        resume=True,
        parallel=parallel,
        progress=False,
        **settings,
    )


IN_PARTS = no.Parallel(sharded_checkpoints=True)


def test_a_run_goes_on_from_either_kind_and_keeps_as_many(tmp_path):
    whole = train(None, None, 4)
    train(tmp_path, IN_PARTS, 1)
    names = {path.name for path in (tmp_path / "checkpoints").glob("step-*")}
    assert names == {"step-00000000", "step-00000004"}
    (tmp_path / "checkpoints" / "step-00000005.orbax-checkpoint-tmp").mkdir()
    train(tmp_path, None, 2)
    train(tmp_path, IN_PARTS, 3)
    names = {path.name for path in (tmp_path / "checkpoints").glob("step-*")}
    assert names == {"step-00000008.safetensors", "step-00000012"}
    for found, expected in zip(weights(train(tmp_path, IN_PARTS, 4).model), weights(whole.model), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_run_that_was_killed_in_its_first_checkpoint_begins_again(tmp_path):
    (tmp_path / "checkpoints" / "step-00000000.orbax-checkpoint-tmp").mkdir(parents=True)
    train(tmp_path, IN_PARTS, 1, keep=1)
    # Orbax removes a checkpoint before it writes it again, so one is never kept alone.
    assert {path.name for path in (tmp_path / "checkpoints").glob("step-*")} == {"step-00000000", "step-00000004"}


def test_a_damaged_one_is_passed_over_and_another_run_is_refused(tmp_path, capsys):
    train(tmp_path, IN_PARTS, 2)
    newest = tmp_path / "checkpoints" / "step-00000008"
    (newest / "metadata" / "metadata").write_text("{")
    train(tmp_path, IN_PARTS, 2)
    assert "Trying the one before" in capsys.readouterr().err
    with pytest.raises(no.RunError, match="seed"):
        train(tmp_path, IN_PARTS, 3, seed=1)
    assert read_parts_header(newest)["progress"]["step"] == 8
