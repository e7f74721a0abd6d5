"""What goes wrong with images that stay on disk, and what is said of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_stream import class_folder
from tfds_folders import Source, make_folder, png

from noprop_ode import data
from noprop_ode.data import _streamed
from noprop_ode.data._read_ahead import InOrder, ReadAhead, Shuffled
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


def test_what_cannot_be_streamed_is_refused(tmp_path):
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
    with pytest.raises(data.DatasetError, match=r"expected 1 workers .*exit code is 9.*fewer"):
        next(data.batches(data.Dataset("deadly", images, [0] * 8, ["a"]), 4, seed=0, epoch=0))


class _Endless:
    """Images of any size; what they print must not get among them."""

    def __init__(self, side):
        self.side = side

    def __getitem__(self, indices):
        print("reading", indices, flush=True)
        return np.full((len(indices), self.side, self.side, 1), indices[0], np.uint8)


@pytest.mark.parametrize("side", [2, 1000], ids=["between arrays", "in the middle of one"])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_is_killed_does_not_leave_the_others_waiting(victim, side):
    ahead = ReadAhead(_Endless(side), Shuffled(64, 4, 0, slice(None)), workers=2)
    assert ahead._workers is not None
    next(ahead)
    time.sleep(0.5)  # they fill their pipes, which have no room for a large array, and wait
    started = ahead._workers._started
    os.kill(started[victim].pid, signal.SIGKILL)
    with pytest.raises(data.DatasetError, match=r"expected 2 workers .* one of them ended: its exit code is -9"):
        for _ in range(10_000):
            next(ahead)
    ahead.close()
    assert all(worker.returncode == -9 for worker in started)


def test_workers_that_are_closed_before_they_have_started_end_too():
    ahead = ReadAhead(_Endless(2), InOrder(10, 2), workers=2)
    assert ahead._workers is not None
    ahead.close()
    assert ahead._workers._started == [] and list(ahead) == []
    ahead = ReadAhead(_Endless(2), InOrder(6, 2), workers=2)
    assert [xs[0, 0, 0, 0] for xs in ahead] == [0, 2, 4]
    ahead.close()


class _Unsendable(Exception):
    def __init__(self, one, two):
        super().__init__(one + two)


class _Failing:
    def __init__(self, error):
        self.error = error

    def __getitem__(self, indices):
        raise _Unsendable("a", "b") if self.error is None else self.error


class _Forking:
    """A reader that leaves a process behind, which has the pipes of its worker."""

    def __getitem__(self, indices):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        return np.zeros((len(indices), 1, 1, 1), np.uint8)


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_what_a_reader_forks_does_not_keep_its_pipe_open():
    ahead = ReadAhead(_Forking(), Shuffled(8, 4, 0, slice(None)), workers=1)
    assert ahead._workers is not None
    next(ahead)
    began = time.monotonic()
    ahead._workers._started[0].kill()
    with pytest.raises(data.DatasetError, match="one of them ended"):
        for _ in range(10_000):
            next(ahead)
    ahead.close()
    assert time.monotonic() - began < 20


def test_what_an_interpreter_prints_when_it_starts_is_not_taken_for_an_answer(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('hello', flush=True); print('more', end='', flush=True)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    ahead = ReadAhead(_Endless(2), InOrder(4, 2), workers=1)
    assert [xs[0, 0, 0, 0] for xs in ahead] == [0, 2]
    ahead.close()


def test_an_error_of_a_worker_is_raised_here_with_its_traceback():
    for error, kind, message in ((KeyError("which"), KeyError, "which"), (None, RuntimeError, r"_Unsendable\('ab'\)")):
        ahead = ReadAhead(_Failing(error), InOrder(4, 2), workers=1)
        with pytest.raises(kind, match=message) as found:
            next(ahead)
        ahead.close()
        if error is not None:
            assert any("in __getitem__" in note for note in found.value.__notes__)


_SCRIPT = """
import os, sys, time
from noprop_ode import data
train = data.from_folder(sys.argv[1], stream=True, workers=1, validation=0).train
reader = data.batches(train, 4, seed=0, epoch=0)
next(reader)
print(reader.gi_frame.f_locals["reader"]._ahead._workers._started[0].pid, flush=True)
if len(sys.argv) > 2:
    os._exit(3)
"""


@pytest.mark.parametrize("how", [[], ["killed"]], ids=["it ends", "it is killed"])
def test_a_program_needs_no_guard_and_its_workers_end_with_it(how, tmp_path):
    (tmp_path / "program.py").write_text(_SCRIPT)
    command = [sys.executable, str(tmp_path / "program.py"), str(class_folder(tmp_path)), *how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == (3 if how else 0), done.stderr
    limit = time.monotonic() + 60
    while _runs(int(done.stdout)):
        assert time.monotonic() < limit
        time.sleep(0.05)


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text() if Path("/proc").is_dir() else True
