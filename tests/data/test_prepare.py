"""`python -m noprop_ode.data`: synthetic archives through `prepare`, and back through `load` and TFDS."""

import numpy as np
import pytest
from archives import cifar_members, write_idx, write_tar

from noprop_ode import data
from noprop_ode.data.__main__ import main


@pytest.mark.parametrize("name, pack", [("mnist", True), ("fashion_mnist", False)])
def test_idx_round_trip(tmp_path, capsys, name, pack):
    made = write_idx(tmp_path / "archives", pack=pack)
    assert main(["prepare", name, "--archives", str(tmp_path / "archives")]) == 0
    captured = capsys.readouterr()
    assert f"{name} prepared in" in captured.out and "train 40, test 20" in captured.out
    assert ("SHA-256" in captured.err) == pack and "holds 40 images where the published" in captured.err
    splits = data.load(name, validation=0)
    for part, stem in ((splits.train, "train"), (splits.test, "t10k")):
        np.testing.assert_array_equal(part.images[..., 0], made[stem][0])
        np.testing.assert_array_equal(part.labels, made[stem][1])
    assert splits.train.class_names[0] == {"mnist": "0", "fashion_mnist": "T-shirt/top"}[name]
    assert main(["prepare", name]) == 0
    assert "already prepared" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert f"{name} 3.0.1  train 40, test 20" in capsys.readouterr().out


@pytest.mark.parametrize("packed", ["tar", "folder", "itself"])
def test_cifar10_round_trip(tmp_path, packed):
    members, made = cifar_members()
    archives = tmp_path / "archives"
    if packed == "tar":
        write_tar(archives / "cifar-10-binary.tar.gz", members)
    else:
        unpacked = archives / "cifar-10-batches-bin"
        unpacked.mkdir(parents=True)
        for name, content in members.items():
            (unpacked / name).write_bytes(content)
        archives = unpacked if packed == "itself" else archives
    assert main(["prepare", "cifar10", "--archives", str(archives)]) == 0
    splits = data.load("cifar10", validation=0)
    np.testing.assert_array_equal(splits.train.images, made["train"][0])
    np.testing.assert_array_equal(splits.train.labels, made["train"][1])
    np.testing.assert_array_equal(splits.test.images, made["test"][0])
    assert splits.train.class_names == tuple(f"thing{i}" for i in range(10))


def test_cifar100_has_fine_and_coarse_labels(tmp_path):
    import tensorflow_datasets as tfds

    members, made = cifar_members(classes=100)
    write_tar(tmp_path / "archives" / "cifar-100-binary.tar.gz", members, "cifar-100-binary/")
    assert main(["prepare", "cifar100", "--archives", str(tmp_path / "archives")]) == 0
    splits = data.load("cifar100", validation=0)
    np.testing.assert_array_equal(splits.train.labels, made["train"][1])
    assert splits.train.num_classes == 100 and splits.train.class_names[7] == "fine7"
    source = tfds.data_source("cifar100", split="train", data_dir=tmp_path / "tfds", download=False)
    assert [source[i]["coarse_label"] for i in range(100)] == made["train"][2].tolist()
    assert source.dataset_info.features["coarse_label"].names[3] == "coarse3"


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_tfds_itself_reads_what_was_prepared(tmp_path, name):
    import tensorflow_datasets as tfds

    if name == "mnist":
        (images, labels) = write_idx(tmp_path / "archives")["t10k"]
        images = images[..., None]
    else:
        members, made = cifar_members()
        write_tar(tmp_path / "archives" / "cifar-10-binary.tar.gz", members)
        images, labels, _ = made["test"]
    assert main(["prepare", name, "--archives", str(tmp_path / "archives")]) == 0
    source = tfds.data_source(name, split="test", data_dir=tmp_path / "tfds", download=False)
    assert len(source) == len(images)
    for example, image, label in zip(source, images, labels):
        np.testing.assert_array_equal(example["image"], image)
        assert example["label"] == label
    if name == "cifar10":
        assert source[7]["id"] in (b"test_00007", "test_00007")
    info = tfds.builder(name, data_dir=tmp_path / "tfds").info
    assert info.supervised_keys == ("image", "label") and info.splits["test"].num_examples == 20


def test_written_bytes_depend_on_the_archives_alone(tmp_path):
    write_idx(tmp_path / "archives")
    for place in ("a", "b"):
        arguments = ["--archives", str(tmp_path / "archives"), "--data-dir", str(tmp_path / place)]
        assert main(["prepare", "mnist", *arguments]) == 0
    for file in (tmp_path / "a" / "mnist" / "3.0.1").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / "mnist" / "3.0.1" / file.name).read_bytes()
