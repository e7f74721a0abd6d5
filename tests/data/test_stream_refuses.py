"""What goes wrong with images that stay on disk, and what is said of it."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image
from test_stream import class_folder
from tfds_folders import Source, make_folder, png

from noprop_ode import _optional, data
from noprop_ode.data import _streamed
from noprop_ode.data._read_ahead import ReadAhead, Shuffled
from noprop_ode.data._records import Records


def test_a_folder_whose_size_is_told_is_not_looked_into(tmp_path):
    root = class_folder(tmp_path)
    (root / "class0" / "000.png").write_bytes(b"no picture")
    with pytest.raises(data.DatasetError, match=r"000\.png as an image"):
        data.from_folder(root, stream=True)
    train = data.from_folder(root, stream=True, image_size=(6, 5), channels=3, validation=0).train
    with pytest.raises(data.DatasetError, match=r"000\.png as an image"):
        list(data.batches(train, 8, seed=0, epoch=0))


def test_a_file_that_changed_is_named(tmp_path):
    root = class_folder(tmp_path)
    train = data.from_folder(root, stream=True, validation=0).train
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(root / "class0" / "000.png")
    with pytest.raises(
        data.DatasetError, match=r"expected .*000\.png to be an image of \(6, 5, 3\), .* got \(9, 9, 3\)"
    ):
        train.images[:4]
    (root / "class0" / "000.png").unlink()
    with pytest.raises(data.DatasetError, match=r"000\.png"):
        train.images[:4]


def test_records_of_many_sizes_are_refused_when_they_come(tmp_path):
    source = Source({"image": png(np.zeros((4 + i // 3, 4, 3), np.uint8)), "label": 0} for i in range(6))
    records = Records(tmp_path, "train", source, ("image", "label"), 3, None)
    assert records.shape == (4, 4, 3) and records.read(np.arange(3)).shape == (3, 4, 4, 3)
    with pytest.raises(data.DatasetError, match=r"\(4, 4, 3\) and \(5, 4, 3\); pass image_size=\(height, width\)"):
        records.read(np.arange(3, 6))


def test_what_cannot_be_streamed_is_refused(tmp_path, monkeypatch):
    make_folder(tmp_path, train=30, test=8)
    for how in ({"workers": 2}, {"stream": True, "workers": -1}):
        with pytest.raises(data.DatasetError, match=r"expected workers of at least 0, and 0 without stream=True"):
            data.load("toys", data_dir=tmp_path, **how)
        with pytest.raises(data.DatasetError, match=r"expected workers"):
            data.from_folder(tmp_path, **how)
    with pytest.raises(data.DatasetError, match=r"'digits'.* leave stream out"):
        data.load("digits", stream=True)
    info = tmp_path / "toys" / "1.2.3" / "dataset_info.json"
    text = info.read_text()
    info.write_text(text.replace("array_record", "tfrecord"))
    with pytest.raises(data.DatasetError, match=r"expected array_record .* with file_format='array_record'"):
        data.load("toys", data_dir=tmp_path, stream=True)
    info.write_text(text)
    with pytest.raises(data.DatasetError, match="first"):
        data.batches(data.load("toys", data_dir=tmp_path, stream=True).train, 8, seed=0, epoch=0, first=-1)

    def missing(module):
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr(_optional.importlib, "import_module", missing)
    with pytest.raises(data.MissingDependencyError, match=r'needs grain.*pip install "noprop_ode\[stream\]"'):
        data.load("toys", data_dir=tmp_path, stream=True)


def test_a_damaged_record_is_told_by_a_worker(tmp_path):
    _, folder = make_folder(tmp_path, train=64, test=8)
    train = data.load("toys", data_dir=tmp_path, stream=True, workers=1, validation=0).train
    shard = next(folder.glob("*train*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    shard.write_bytes(content)
    with pytest.raises(data.DatasetError, match=r"cannot read split 'train' of .*prepare it again"):
        list(data.batches(train, 64, seed=0, epoch=0))


class _Deadly(_streamed.AbstractPictures):
    """Ends the process that reads it, as the system does with one that takes too much memory."""

    def __len__(self):
        return 8

    @property
    def shape(self):
        return (1, 1, 1)

    def read(self, positions):
        os._exit(9)


def test_a_worker_that_dies_is_told_of():
    images = _streamed.StreamedImages(_Deadly(), np.zeros((8, 1), np.uint8), workers=1)
    with pytest.raises(
        data.DatasetError, match=r"expected 1 workers .*exit code (is )?9.*__name__ == '__main__'.*fewer"
    ):
        next(data.batches(data.Dataset("deadly", images, [0] * 8, ["a"]), 4, seed=0, epoch=0))


class _Slow:
    """A source whose records take a moment, so that a reader waits for its workers."""

    def __len__(self):
        return 64

    def __getitem__(self, indices):
        time.sleep(0.05)
        return np.zeros((len(indices), 2, 2, 1), np.uint8)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_is_killed_does_not_leave_the_others_waiting(victim):
    before = set(multiprocessing.active_children())
    ahead = ReadAhead(_Slow(), Shuffled(64, 4, 0, slice(None)), workers=2)
    next(ahead)
    workers = sorted(set(multiprocessing.active_children()) - before, key=lambda process: process.pid)
    os.kill(workers[victim].pid, signal.SIGKILL)
    with pytest.raises(data.DatasetError, match=r"expected 2 workers .* one of them ended"):
        for _ in range(100):
            next(ahead)
    ahead.close()
