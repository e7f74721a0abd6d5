"""The real data sets, where they are."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from tfds_folders import rows

from noprop_ode import data
from noprop_ode.data import _tfds


SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "tfds"
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
REAL["cifar100"] = ((32, 32, 3), [500] * 100, [100] * 100, None)
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
    assert splits.train.image_shape == shape and splits.train.class_names == (class_names or splits.test.class_names)
    counts = np.bincount(splits.train.labels) + np.bincount(splits.validation.labels)
    assert counts.tolist() == train_counts
    assert np.bincount(splits.test.labels).tolist() == test_counts
    share = np.bincount(splits.validation.labels) / (np.array(train_counts) / sum(train_counts) * 5000)
    assert len(splits.validation) == 5000 and np.abs(share - 1).max() < 0.01


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_sets_begin_as_published(name):
    from noprop_ode.data._folders import find_folder

    folder = _tfds.PreparedFolder(name, find_folder(name, real_dir(name)))
    assert folder.class_names == (REAL[name][3] or folder.class_names) and len(folder.class_names) == len(REAL[name][1])
    records = folder._records("train", None)
    assert len(records) == sum(REAL[name][1]) and len(folder._records("test", None)) == 10000
    images, labels = records.read_labelled(np.arange(3))
    assert labels.tolist() == {"mnist": [5, 0, 4], "cifar10": [6, 9, 9], "cifar100": [19, 29, 0]}[name]
    assert images.shape[1:] == REAL[name][0]


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
