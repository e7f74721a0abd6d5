"""Archives that `prepare` refuses."""

import re

import numpy as np
import pytest
from archives import cifar_members, idx_bytes, leftovers, put_idx, write_idx, write_tar

from noprop_ode.data.__main__ import main
from noprop_ode.data.prepare import SOURCES, _sources


def truncated_gzip(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1000])


def not_gzip(folder):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"<html>404</html>")


def corrupt_gzip(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(bytes(content))


def short_idx(folder):
    put_idx(folder, "train-images-idx3-ubyte", idx_bytes(np.zeros((40, 28, 28), np.uint8))[:-1])


def long_idx(folder):
    put_idx(folder, "train-images-idx3-ubyte", idx_bytes(np.zeros((40, 28, 28), np.uint8)) + b"x")


def no_header(folder):
    put_idx(folder, "train-images-idx3-ubyte", b"\0\0")


def swapped(folder):
    put_idx(folder, "train-images-idx3-ubyte", idx_bytes(np.zeros(40, np.uint8)) + bytes(8))


def wrong_size(folder):
    put_idx(folder, "t10k-images-idx3-ubyte", idx_bytes(np.zeros((20, 32, 32), np.uint8)))


def none_at_all(folder):
    put_idx(folder, "t10k-images-idx3-ubyte", idx_bytes(np.zeros((0, 28, 28), np.uint8)))


def other_count(folder):
    put_idx(folder, "t10k-labels-idx1-ubyte", idx_bytes(np.zeros(19, np.uint8)))


def label_out_of_range(folder):
    put_idx(folder, "t10k-labels-idx1-ubyte", idx_bytes(np.full(20, 10, np.uint8)))


def file_missing(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()


@pytest.mark.parametrize(
    "damage, message",
    [
        (truncated_gzip, "whole gzip file"),
        (not_gzip, "whole gzip file"),
        (corrupt_gzip, "whole gzip file"),
        (short_idx, "by its header"),
        (long_idx, "by its header"),
        (no_header, "header of 16 bytes"),
        (swapped, "magic 0x00000803"),
        (wrong_size, r"items of \(28, 28\)"),
        (none_at_all, r"items of \(28, 28\)"),
        (other_count, "got 19 and 20"),
        (label_out_of_range, r"labels in \[0, 10\)"),
        (file_missing, "t10k-labels-idx1-ubyte.gz .*fetch it from https"),
    ],
)
def test_bad_idx_files_are_refused(tmp_path, capsys, damage, message):
    write_idx(tmp_path / "archives")
    damage(tmp_path / "archives")
    assert main(["prepare", "mnist", "--archives", str(tmp_path / "archives")]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.startswith("error: ")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "change, message",
    [
        ({"test_batch.bin": None}, "expected test_batch.bin"),
        ({"data_batch_3.bin": b"x" * 3072}, "whole records of 3073 bytes"),
        ({"data_batch_3.bin": b""}, "whole records of 3073 bytes"),
        ({"test_batch.bin": bytes([10]) + bytes(3072)}, r"labels in \[0, 10\)"),
        ({"batches.meta.txt": b"one\ntwo\n"}, "10 different class names"),
        ({"batches.meta.txt": b"same\n" * 10}, "10 different class names"),
        ({"deep/test_batch.bin": bytes(3073)}, "one plain file test_batch.bin"),
    ],
)
def test_bad_cifar_archives_are_refused(tmp_path, capsys, change, message):
    members, _ = cifar_members(n=4)
    members = {name: content for name, content in {**members, **change}.items() if content is not None}
    write_tar(tmp_path / "archives" / "cifar-10-binary.tar.gz", members)
    assert main(["prepare", "cifar10", "--archives", str(tmp_path / "archives")]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert leftovers(tmp_path, "cifar10") == []


def test_truncated_tar_is_refused(tmp_path, capsys):
    path = tmp_path / "archives" / "cifar-10-binary.tar.gz"
    write_tar(path, cifar_members()[0])
    path.write_bytes(path.read_bytes()[:-5000])
    assert main(["prepare", "cifar10", "--archives", str(path.parent)]) == 2
    assert "whole tar archive" in capsys.readouterr().err


def test_members_of_a_tar_are_written_nowhere(tmp_path):
    members, _ = cifar_members(n=4)
    write_tar(tmp_path / "archives" / "cifar-10-binary.tar.gz", members, "../../escaped/")
    assert main(["prepare", "cifar10", "--archives", str(tmp_path / "archives")]) == 0
    assert sorted(f.name for f in tmp_path.iterdir()) == ["archives", "tfds"]
    assert not (tmp_path.parent / "escaped").exists()


def test_more_images_than_are_published_are_refused(tmp_path, capsys, monkeypatch):
    source = SOURCES["mnist"]
    small = _sources._idx("http://localhost/", tuple("0123456789"), tuple((a.unpacked, 1, "") for a in source.archives))
    monkeypatch.setitem(small.counts, "train", 39)
    monkeypatch.setitem(SOURCES, "mnist", small)
    write_idx(tmp_path / "archives")
    assert main(["prepare", "mnist", "--archives", str(tmp_path / "archives")]) == 2
    assert f"at most {16 + 39 * 784} bytes" in capsys.readouterr().err
