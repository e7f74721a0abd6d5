"""Data sets: loading, splitting, caching and dealing out batches. No test here touches the network."""

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from noprop_ode import data
from noprop_ode.data import _cache, _tfds
from noprop_ode.data._random import permutation, stratified_cut
from noprop_ode.data.prepare._archives import Contents
from noprop_ode.data.prepare._write import write_folder


SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "tfds"


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    monkeypatch.setenv("NOPROP_ODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


def arrays(n, shape=(6, 5, 3), classes=4, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    return images, (np.arange(n) % classes).astype(np.uint8)


def make_folder(data_dir, name="toys", version="1.2.3", classes=("ant", "bee", "cat", "dog"), **counts):
    """Write a TFDS folder for a data set that TFDS has no class for."""
    parts = {split: arrays(n, classes=len(classes), seed=n) for split, n in counts.items()}
    contents = Contents(
        {"label": classes},
        {split: images for split, (images, _) in parts.items()},
        {split: {"label": labels} for split, (_, labels) in parts.items()},
        has_ids=False,
    )
    folder = Path(data_dir) / name / version
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_folder(name.split("/")[0], contents, folder)
    return parts, folder


def rows(dataset):
    return {image.tobytes() for image in dataset.images}


# --- Dataset


def test_dataset_describes_itself():
    images, labels = arrays(8)
    one = data.Dataset("toys", images, labels.astype(np.int32), ("a", "b", "c", "d"))
    assert (len(one), one.image_shape, one.num_classes) == (8, (6, 5, 3), 4)
    assert repr(one) == "Dataset('toys', 8 images of 6x5x3, 4 classes)"
    taken = one.take(np.array([3, 1]))
    np.testing.assert_array_equal(taken.images, images[[3, 1]])
    np.testing.assert_array_equal(taken.labels, [3, 1])
    assert len(one.take(labels == 0)) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.uint32])
def test_integer_labels_of_any_kind_are_kept_as_int32(dtype):
    made = data.Dataset("toys", np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1], dtype), ("a", "b"))
    assert made.labels.dtype == np.int32 and made.labels.tolist() == [0, 1]


def test_statistics_of_pixels():
    images, labels = arrays(8)
    made = data.Dataset("toys", images, labels.astype(np.int32), ("a", "b", "c", "d"))
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose([made.mean, made.std], [scaled.mean(), scaled.std()], rtol=1e-12)
    as_floats = data.Dataset("toys", scaled, labels, ("a", "b", "c", "d"))
    np.testing.assert_allclose([as_floats.mean, as_floats.std], [made.mean, made.std], rtol=1e-12)
    assert data.Dataset("flat", np.zeros((2, 3), np.uint8), np.array([0, 1]), ("a", "b")).std == 1.0


def test_arrays_of_ones_own():
    xs = np.random.default_rng(0).random((40, 7))
    names = np.array(["dog", "cat", "eel", "ant"])[np.arange(40) % 4]
    splits = data.from_arrays(xs, names, test=(xs[:4], names[:4]), validation=8)
    assert splits.train.class_names == ("ant", "cat", "dog", "eel")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (32, 8, 4)
    assert splits.test.labels.tolist() == [2, 1, 3, 0]
    assert np.bincount(splits.validation.labels).tolist() == [2, 2, 2, 2]
    alone = data.from_arrays(xs, np.arange(40) % 4, validation=0, class_names=list("wxyz"))
    assert alone.validation is None and alone.test is None and alone.train.class_names == ("w", "x", "y", "z")
    with pytest.raises(data.DatasetError, match="got .'fox'. too"):
        data.from_arrays(xs, names, test=(xs[:1], np.array(["fox"])))
    with pytest.raises(data.DatasetError, match="expected 4 class_names"):
        data.from_arrays(xs, names, class_names=["a"])
    with pytest.raises(data.DatasetError, match="one label an image"):
        data.from_arrays(xs, 3)


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (np.zeros(2, np.uint8), np.zeros(2, np.int32), "uint8 .n h w c."),
        (np.zeros((2, 4, 4, 1), np.int16), np.zeros(2, np.int32), "got int16"),
        (np.full((2, 4, 4, 1), 255.0), np.zeros(2, np.int32), "got pixels up to 255"),
        (np.full((2, 4, 4, 1), np.nan), np.zeros(2, np.int32), "got pixels up to nan"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.float32), "integer labels"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array(["a", "b"]), "from_arrays"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, np.int32), "2 images and 3 labels"),
        (np.zeros((0, 4, 4, 1), np.uint8), np.zeros(0, np.int32), "at least one image"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 2], np.int32), r"labels in \[0, 2\), got 0..2"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([-1, 0], np.int32), "got -1..0"),
    ],
)
def test_dataset_refuses_what_it_is_not(images, labels, message):
    with pytest.raises(data.DatasetError, match=message):
        data.Dataset("bad", images, labels, ("a", "b"))


def test_take_refuses_what_is_not_there():
    images, labels = arrays(8)
    one = data.Dataset("toys", images, labels.astype(np.int32), ("a", "b", "c", "d"))
    with pytest.raises(data.DatasetError, match="indices of 8 images"):
        one.take(np.array([8]))
    with pytest.raises(data.DatasetError, match="at least one image"):
        one.take(np.array([], np.int64))


# --- splits


@pytest.mark.parametrize("count", [1, 7, 50, 99])
def test_stratified_cut_is_a_partition_with_every_class_at_its_share(count):
    labels = np.repeat(np.arange(4), [10, 20, 30, 40]).astype(np.int32)
    chosen, rest = stratified_cut(labels, count, permutation(100, (5,)))
    np.testing.assert_array_equal(np.sort(np.concatenate([chosen, rest])), np.arange(100))
    exact = np.bincount(labels) * count / 100
    got = np.bincount(labels[chosen], minlength=4)
    assert len(chosen) == count and (np.abs(got - exact) < 1).all()


def test_permutation_is_pinned():
    # A changed value here means that every published split and batch order has changed.
    assert permutation(8, (2, 0, 8)).tolist() == [3, 4, 1, 7, 2, 0, 6, 5]
    assert sorted(permutation(1000, (1, 2)).tolist()) == list(range(1000))


def test_digits():
    splits = data.load("digits")
    assert splits.validation is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1294, 144, 359)
    assert splits.train.image_shape == (8, 8, 1) and splits.train.images.max() == 255
    assert splits.train.class_names == tuple("0123456789")
    # All 1797 images are different, so the parts are disjoint exactly if no image is lost.
    assert len(rows(splits.train) | rows(splits.validation) | rows(splits.test)) == 1797


def test_splits_depend_on_the_seed_and_the_test_part_does_not():
    first, again, other = data.load("digits"), data.load("digits"), data.load("digits", seed=1)
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(first, part).images, getattr(again, part).images)
    assert rows(first.test) == rows(other.test)
    assert first.validation is not None and other.validation is not None
    assert rows(first.validation) != rows(other.validation)


def test_validation_by_fraction_by_number_and_none():
    assert data.load("digits", validation=0).validation is None
    assert data.load("digits", validation=0.0).validation is None
    by_number = data.load("digits", validation=200).validation
    assert by_number is not None and len(by_number) == 200
    assert len(data.load("digits", validation=0).train) == 1438


@pytest.mark.parametrize("validation", [-0.1, 1.0, 1.5, -3, True, float("nan"), 1438, 10**6, 1e-9])
def test_validation_out_of_range(validation):
    with pytest.raises(data.DatasetError, match="validation"):
        data.load("digits", validation=validation)


def test_image_size_resizes():
    assert data.load("digits", image_size=(12, 10)).train.image_shape == (12, 10, 1)
    with pytest.raises(data.DatasetError, match="image_size"):
        data.load("digits", image_size=(0, 3))


# --- batches


def test_batches_cover_an_epoch_once_and_repeat():
    train = data.load("digits").train
    seen = list(data.batches(train, 100, seed=3, epoch=2))
    assert len(seen) == 12 and all(x.shape == (100, 8, 8, 1) and y.shape == (100,) for x, y in seen)
    assert len({image.tobytes() for x, _ in seen for image in x}) == 1200
    for (x, y), (x2, y2) in zip(seen, data.batches(train, 100, seed=3, epoch=2)):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    (x, _), *_ = data.batches(train, 100, seed=3, epoch=3)
    assert not np.array_equal(x, seen[0][0])
    assert len(list(data.batches(train, len(train), seed=0, epoch=0))) == 1


@pytest.mark.parametrize("size, seed, epoch", [(0, 0, 0), (1295, 0, 0), (10, -1, 0), (10, 0, -1)])
def test_batches_refuse_at_the_call(size, seed, epoch):
    train = data.load("digits").train
    with pytest.raises(data.DatasetError):
        data.batches(train, size, seed=seed, epoch=epoch)


# --- folders that TFDS prepared


def test_a_folder_that_tfds_has_no_class_for(tmp_path):
    parts, _ = make_folder(tmp_path / "tfds", train=40, test=8)
    splits = data.load("toys", validation=0)
    np.testing.assert_array_equal(splits.train.images, parts["train"][0])
    np.testing.assert_array_equal(splits.train.labels, parts["train"][1])
    np.testing.assert_array_equal(splits.test.images, parts["test"][0])
    assert splits.train.class_names == ("ant", "bee", "cat", "dog")


def test_its_own_validation_split_is_used(tmp_path):
    parts, _ = make_folder(tmp_path, train=40, validation=12, test=8)
    splits = data.load("toys", data_dir=tmp_path)
    assert splits.validation is not None and len(splits.train) == 40
    np.testing.assert_array_equal(splits.validation.images, parts["validation"][0])
    assert data.load("toys", data_dir=tmp_path, validation=0).validation is None


def test_validation_split_serves_as_the_test_part_where_there_is_none(tmp_path):
    parts, _ = make_folder(tmp_path, train=40, validation=12)
    splits = data.load("toys", data_dir=tmp_path)
    np.testing.assert_array_equal(splits.test.images, parts["validation"][0])
    assert splits.validation is not None and len(splits.validation) == 4 and len(splits.train) == 36


def test_a_test_part_is_cut_where_there_is_only_train(tmp_path):
    make_folder(tmp_path, train=40)
    splits = data.load("toys", data_dir=tmp_path)
    assert splits.validation is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (29, 3, 8)
    assert len(rows(splits.train) | rows(splits.validation) | rows(splits.test)) == 40


def test_versions_and_configurations(tmp_path):
    for version, n in (("1.2.3", 20), ("1.10.0", 24)):
        make_folder(tmp_path, version=version, train=n, test=8)
    assert len(data.load("toys", data_dir=tmp_path, validation=0).train) == 24
    assert len(data.load("toys:1.2.3", data_dir=tmp_path, validation=0).train) == 20
    with pytest.raises(data.DatasetNotFoundError, match=r"has 1\.2\.3, 1\.10\.0"):
        data.load("toys:9.9.9", data_dir=tmp_path)
    make_folder(tmp_path, name="games/small", train=16, test=8)
    assert len(data.load("games", data_dir=tmp_path, validation=0).train) == 16
    make_folder(tmp_path, name="games/big", train=32, test=8)
    assert len(data.load("games/big", data_dir=tmp_path, validation=0).train) == 32
    with pytest.raises(data.DatasetError, match="games/big, games/small"):
        data.load("games", data_dir=tmp_path)


def test_resizing_a_folder_and_refusing_mixed_sizes(tmp_path, monkeypatch):
    _, folder = make_folder(tmp_path, train=20, test=8)
    assert data.load("toys", data_dir=tmp_path, image_size=(4, 7)).train.image_shape == (4, 7, 3)
    source = [{"image": np.zeros((4 + i % 2, 4, 3), np.uint8), "label": 0} for i in range(6)]

    class Mixed(list):
        def __getitems__(self, keys):
            return [self[k] for k in keys]

    monkeypatch.setattr(_tfds.PreparedFolder, "_source", lambda self, split: Mixed(source))
    prepared = _tfds.PreparedFolder("mixed", folder)
    with pytest.raises(data.DatasetError, match=r"image_size=\(height, width\)"):
        prepared.read("train", None)
    assert prepared.read("train", (4, 4))[0].shape == (6, 4, 4, 3)


def damage_json(folder):
    (folder / "dataset_info.json").write_text("{")


def damage_missing_shard(folder):
    next(folder.glob("*train*")).unlink()


def damage_short_shard(folder):
    shard = next(folder.glob("*train*"))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])


def damage_format(folder):
    path = folder / "dataset_info.json"
    path.write_text(path.read_text().replace('"array_record"', '"tfrecord"'))


def damage_features(folder):
    path = folder / "features.json"
    content = json.loads(path.read_text())
    del content["featuresDict"]["features"]["label"]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "damage, message",
    [
        (damage_json, "prepared by TFDS 4 or later"),
        (damage_missing_shard, "prepare it again"),
        (damage_short_shard, "prepare it again"),
        (damage_format, "array_record"),
        (damage_features, "one image and one class label"),
    ],
)
def test_damaged_folders(tmp_path, damage, message):
    _, folder = make_folder(tmp_path, train=20, test=8)
    damage(folder)
    with pytest.raises(data.DatasetError, match=message):
        data.load("toys", data_dir=tmp_path)


# --- names and missing data


@pytest.mark.parametrize(
    "name, suggestion", [("mnits", "mnist"), ("digit", "digits"), ("cifar-10", "cifar10"), ("CIFAR10", "cifar10")]
)
def test_mistyped_names(name, suggestion):
    with pytest.raises(data.DatasetError, match=suggestion) as caught:
        data.load(name)
    assert not isinstance(caught.value, data.DatasetNotFoundError)


def test_names_of_folders_found_are_suggested(tmp_path):
    make_folder(tmp_path / "tfds", train=20, test=8)
    with pytest.raises(data.DatasetError, match=r"Did you mean 'toys'.*prepared there: toys"):
        data.load("toyz")


@pytest.mark.parametrize("name", ["../toys", "a b", "", "toys/../x", "huggingface:mnist"])
def test_names_are_no_paths(name):
    with pytest.raises(data.DatasetError, match="name such as"):
        data.load(name)


@pytest.mark.parametrize("name", ["mnist", "food101"])
def test_missing_data_names_three_ways_out(name, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        data.load(name, data_dir=tmp_path / "none")
    message = str(caught.value)
    assert isinstance(caught.value, data.DatasetNotFoundError)
    for way in ("python -m noprop_ode.data prepare", "--data-dir", "TFDS_DATA_DIR", "'digits'", "not a folder"):
        assert way in message


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(data.MissingDependencyError, match=r'pip install "noprop_ode\[experiments\]"'):
        data.load("digits")


# --- cache


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


def test_unwritable_cache_warns_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NOPROP_ODE_CACHE", str(tmp_path / "file" / "cache"))
    _cache._warn_once.cache_clear()
    make_folder(tmp_path, train=20, test=8)
    with pytest.warns(UserWarning, match="NOPROP_ODE_CACHE") as caught:
        data.load("toys", data_dir=tmp_path)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(data.load("toys", data_dir=tmp_path).test) == 8


def test_where_the_cache_is(monkeypatch):
    monkeypatch.delenv("NOPROP_ODE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert _cache.cache_dir() == Path("/x/noprop_ode")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert _cache.cache_dir() == Path("~/.cache/noprop_ode").expanduser()


# --- the real data sets, where they are


REAL = {
    "mnist": (
        (28, 28, 1),
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        tuple("0123456789"),
    ),
    "cifar10": (
        (32, 32, 3),
        [5000] * 10,
        [1000] * 10,
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
}
REAL_DIR = Path(os.environ.get("TFDS_DATA_DIR", SHARED))


def real_dir(name):
    if not (REAL_DIR / name).is_dir():
        pytest.skip(f"{name} is not prepared in {REAL_DIR}; set TFDS_DATA_DIR to a folder that has it")
    return REAL_DIR


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(REAL))
def test_real_sets_whole(name):
    shape, train_counts, test_counts, class_names = REAL[name]
    splits = data.load(name, data_dir=real_dir(name), validation=5000)
    assert splits.validation is not None
    assert splits.train.image_shape == shape and splits.train.class_names == class_names
    counts = np.bincount(splits.train.labels) + np.bincount(splits.validation.labels)
    assert counts.tolist() == train_counts
    assert np.bincount(splits.test.labels).tolist() == test_counts
    share = np.bincount(splits.validation.labels) / (np.array(train_counts) / sum(train_counts) * 5000)
    assert len(splits.validation) == 5000 and np.abs(share - 1).max() < 0.01


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_sets_begin_as_published(name):
    from noprop_ode.data._folders import find_folder

    folder = _tfds.PreparedFolder(name, find_folder(name, real_dir(name)))
    assert folder.class_names == REAL[name][3]
    source = folder._source("train")
    assert len(source) == sum(REAL[name][1]) and len(folder._source("test")) == 10000
    first = source.__getitems__([0, 1, 2])
    assert [example["label"] for example in first] == {"mnist": [5, 0, 4], "cifar10": [6, 9, 9]}[name]
    assert first[0]["image"].shape == REAL[name][0]


def test_real_sets_link_and_load(tmp_path):
    """The test split of real MNIST, by a folder that lists it as `train`, cut into all three parts."""
    folder = tmp_path / "tfds" / "mnist" / "3.0.1"
    shutil.copytree(real_dir("mnist") / "mnist" / "3.0.1", folder, symlinks=True, copy_function=os.symlink)
    info = json.loads((folder / "dataset_info.json").read_text())
    info["splits"] = [s for s in info["splits"] if s["name"] == "test"]
    info["splits"][0]["name"] = "train"
    (folder / "dataset_info.json").unlink()
    (folder / "dataset_info.json").write_text(json.dumps(info))
    shard = folder / "mnist-train.array_record-00000-of-00001"
    shard.unlink()
    shard.symlink_to(real_dir("mnist") / "mnist" / "3.0.1" / "mnist-test.array_record-00000-of-00001")
    splits = data.load("mnist")
    assert splits.validation is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (7200, 800, 2000)
    assert len(rows(splits.train) | rows(splits.validation) | rows(splits.test)) == 10000
