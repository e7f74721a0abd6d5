"""Loading by name: parts, versions, sizes, and what is said of data that is missing or damaged."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tfds_folders import Source, make_folder, png, rows

from noprop_ode import data
from noprop_ode.data import _tfds


def test_digits():
    splits = data.load("digits")
    assert splits.validation is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1294, 144, 359)
    assert splits.train.image_shape == (8, 8, 1) and splits.train.images.max() == 255
    assert splits.train.class_names == tuple("0123456789")
    # All 1797 images are different, so the parts are disjoint exactly if no image is lost.
    assert len(rows(splits.train) | rows(splits.validation) | rows(splits.test)) == 1797


@pytest.mark.parametrize("found", [True, False])
def test_digits_are_those_of_scikit_learn_wherever_its_file_lies(monkeypatch, found):
    if not found:
        monkeypatch.setattr(Path, "is_file", lambda self: False)
    bunch = load_digits()
    splits = data.load("digits", validation=0)
    images = np.concatenate([splits.train.images, splits.test.images])[..., 0]
    labels = np.concatenate([splits.train.labels, splits.test.labels])
    own = {(image.tobytes(), int(label)) for image, label in zip(images, labels)}
    theirs = np.rint(bunch.images * 255 / 16).astype(np.uint8)
    assert own == {(image.tobytes(), int(label)) for image, label in zip(theirs, bunch.target)}


def test_the_digits_are_loaded_without_the_import_of_scikit_learn():
    code = "import sys; from noprop_ode import data; data.load('digits'); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=300).returncode == 0


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


@pytest.mark.parametrize("stream", [False, True])
def test_a_test_split_without_labels_is_left_out(tmp_path, stream):
    parts, _ = make_folder(tmp_path, train=40, validation=12, test=8, unlabelled=["test"])
    splits = data.load("toys", data_dir=tmp_path, stream=stream)
    np.testing.assert_array_equal(splits.test.images[:], parts["validation"][0])
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
    source = Source({"image": png(np.zeros((4 + i % 2, 4, 3), np.uint8)), "label": 0} for i in range(6))
    monkeypatch.setattr(_tfds.PreparedFolder, "_source", lambda self, split: source)
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
        (damage_format, "move that folder away.*array_record"),
        (damage_features, "one image and one class label"),
    ],
)
def test_damaged_folders(tmp_path, damage, message):
    _, folder = make_folder(tmp_path, train=20, test=8)
    damage(folder)
    with pytest.raises(data.DatasetError, match=message):
        data.load("toys", data_dir=tmp_path)


@pytest.mark.parametrize(
    "name, suggestion", [("mnits", "mnist"), ("digit", "digits"), ("cifar-10", "cifar10"), ("CIFAR10", "cifar10")]
)
def test_mistyped_names(name, suggestion):
    with pytest.raises(data.DatasetError, match=f"Did you mean .*'{suggestion}'") as caught:
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
@pytest.mark.parametrize("given", [True, False])
def test_missing_data_names_three_ways_out(name, given, tmp_path):
    folder = tmp_path / "no such"
    with pytest.raises(FileNotFoundError) as caught:
        data.load(name, data_dir=folder if given else None)
    message = str(caught.value)
    assert isinstance(caught.value, data.DatasetNotFoundError)
    for way in ("python -m noprop_ode.data prepare", "--data-dir", "TFDS_DATA_DIR", "'digits'", "not a folder"):
        assert way in message
    command = {"mnist": f"prepare mnist --data-dir '{folder}'`", "food101": f"'food101', data_dir='{folder}', file"}
    assert (command[name] in message) == given


def test_missing_package_names_the_extra(monkeypatch):
    for module in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(data.MissingDependencyError, match=r'pip install "noprop_ode\[experiments\]"'):
        data.load("digits")
