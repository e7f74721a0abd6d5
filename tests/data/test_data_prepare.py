"""`python -m noprop_ode.data`: synthetic archives through `prepare`, and back through `load` and TFDS."""

import dataclasses
import gzip
import hashlib
import http.server
import io
import os
import re
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from noprop_ode import data
from noprop_ode.data.__main__ import main
from noprop_ode.data.prepare import SOURCES, _prepare, _write
from noprop_ode.data.prepare._download import DownloadError, download
from noprop_ode.data.prepare._sources import Archive


REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    monkeypatch.setenv("NOPROP_ODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("no_proxy", "*")


# --- synthetic archives


def idx_bytes(array):
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, counts=(40, 20), seed=0, pack=True):
    folder.mkdir(parents=True, exist_ok=True)
    rng, made = np.random.default_rng(seed), {}
    for stem, n in zip(("train", "t10k"), counts):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        made[stem] = images, labels
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            put_idx(folder, f"{stem}-{kind}-ubyte", idx_bytes(array), pack)
    return made


def put_idx(folder, stem, content, pack=True):
    path = folder / (f"{stem}.gz" if pack else stem)
    path.write_bytes(gzip.compress(content, 1) if pack else content)


def cifar_members(classes=10, n=20, seed=0):
    """Members of a small CIFAR archive, and the arrays in it by split."""
    rng, members, made = np.random.default_rng(seed), {}, {}
    files = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    if classes == 100:
        files = {"train": ["train.bin"], "test": ["test.bin"]}
        n = 100
    for split, names in files.items():
        images = rng.integers(0, 256, (len(names), n, 32, 32, 3), dtype=np.uint8)
        labels = np.tile((np.arange(n) % classes).astype(np.uint8), (len(names), 1))
        coarse = labels // 5
        for i, name in enumerate(names):
            columns = [coarse[i, :, None]] if classes == 100 else []
            pixels = images[i].transpose(0, 3, 1, 2).reshape(n, -1)
            members[name] = np.concatenate([*columns, labels[i, :, None], pixels], axis=1).tobytes()
        made[split] = images.reshape(-1, 32, 32, 3), labels.reshape(-1), coarse.reshape(-1)
    if classes == 100:
        members["fine_label_names.txt"] = "".join(f"fine{i}\n" for i in range(100)).encode()
        members["coarse_label_names.txt"] = "".join(f"coarse{i}\n" for i in range(20)).encode()
    else:
        members["batches.meta.txt"] = "".join(f"thing{i}\n" for i in range(10)).encode() + b"\n"
    return members, made


def write_tar(path, members, prefix="cifar-10-batches-bin/"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(prefix + name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def leftovers(tmp_path, name="mnist"):
    folder = tmp_path / "tfds" / name
    return sorted(f.name for f in folder.iterdir()) if folder.exists() else []


# --- round trips


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


# --- archives that are refused


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


# --- usage and interruptions


def test_usage(tmp_path, capsys):
    assert main(["prepare", "mnits"]) == 2
    assert "Did you mean 'mnist'?" in capsys.readouterr().err
    assert main(["prepare", "mnist", "--archives", str(tmp_path / "none")]) == 2
    assert "--archives to be a folder" in capsys.readouterr().err
    assert main(["list", "--data-dir", str(tmp_path / "none")]) == 0
    captured = capsys.readouterr()
    assert "digits  (built in)" in captured.out and "nothing is prepared" in captured.err
    with pytest.raises(SystemExit) as caught:
        main(["prepare"])
    assert caught.value.code == 2
    assert not (tmp_path / "tfds").exists()


def test_a_folder_of_someone_else_is_left_alone(tmp_path, capsys):
    foreign = tmp_path / "tfds" / "mnist" / "3.0.1" / "notes.txt"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    write_idx(tmp_path / "archives")
    assert main(["prepare", "mnist", "--archives", str(tmp_path / "archives")]) == 2
    assert "move it away" in capsys.readouterr().err and foreign.read_text() == "mine"


def test_a_data_dir_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "tfds").write_text("a file")
    write_idx(tmp_path / "archives")
    assert main(["prepare", "mnist", "--archives", str(tmp_path / "archives")]) == 1
    assert str(tmp_path / "tfds") in capsys.readouterr().err


@pytest.mark.parametrize("failure, status", [(KeyboardInterrupt, 130), (OSError(28, "No space left"), 1)])
def test_a_run_that_fails_leaves_nothing_and_can_be_run_again(tmp_path, capsys, monkeypatch, failure, status):
    write_idx(tmp_path / "archives")
    arguments = ["prepare", "mnist", "--archives", str(tmp_path / "archives")]
    record, calls = _write._record, []

    def failing(*args):
        calls.append(args)
        if len(calls) == 45:
            raise failure
        return record(*args)

    monkeypatch.setattr(_write, "_record", failing)
    assert main(arguments) == status
    assert "error: " in capsys.readouterr().err and leftovers(tmp_path) == []
    assert main(arguments) == 0
    assert leftovers(tmp_path) == ["3.0.1"]


def test_a_killed_run_leaves_no_final_folder(tmp_path):
    write_idx(tmp_path / "archives", counts=(20000, 20))
    arguments = ["prepare", "mnist", "--archives", str(tmp_path / "archives")]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    run = subprocess.Popen([sys.executable, "-m", "noprop_ode.data", *arguments], env=environment)
    deadline = time.monotonic() + 60
    while not leftovers(tmp_path):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    (building,) = leftovers(tmp_path)
    assert re.fullmatch(r"\.noprop_ode-[0-9a-f]{8}\.incomplete", building)
    # While it runs, a second run says so and touches nothing.
    with pytest.raises(OSError, match="another run"):
        _prepare.prepare("mnist", tmp_path / "tfds", tmp_path / "archives")
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert leftovers(tmp_path) == [building]
    with pytest.raises(data.DatasetNotFoundError):
        data.load("mnist")
    write_idx(tmp_path / "archives")
    assert main(arguments) == 0
    assert leftovers(tmp_path) == ["3.0.1"]


# --- downloads, from a server on this machine


class Server(http.server.ThreadingHTTPServer):
    """Serves a dictionary of files; can ignore ranges and break off."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.ranges, self.break_after = {}, True, None
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, name = self.server, self.path.lstrip("/")
        assert isinstance(server, Server)
        wanted = self.headers.get("Range")
        server.requests.append((name, wanted))
        if name not in server.files:
            return self.send_error(404)
        content, start = server.files[name], 0
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: server.break_after])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()


def published(server, content=CONTENT, name="file.gz"):
    server.files[name] = content
    return Archive(server.url + name, len(content), hashlib.sha256(content).hexdigest(), "file")


def test_download_and_leave_what_is_there(tmp_path, server):
    archive = published(server)
    assert download(archive, tmp_path).read_bytes() == CONTENT
    assert download(archive, tmp_path).read_bytes() == CONTENT
    assert server.requests == [("file.gz", None)]
    assert [f.name for f in tmp_path.iterdir()] == ["file.gz"]


def test_download_goes_on_where_it_stopped(tmp_path, server):
    archive = published(server)
    (tmp_path / "file.gz.noprop_ode-part").write_bytes(CONTENT[:100_000])
    assert download(archive, tmp_path).read_bytes() == CONTENT
    assert server.requests == [("file.gz", "bytes=100000-")]


def test_download_takes_up_a_connection_that_breaks_off(tmp_path, server):
    archive = published(server)
    server.break_after = 110_000
    assert download(archive, tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=110000-", "bytes=220000-"]


def test_download_from_a_server_without_ranges_begins_anew(tmp_path, server):
    archive = published(server)
    server.ranges = False
    (tmp_path / "file.gz.noprop_ode-part").write_bytes(CONTENT[:100_000])
    assert download(archive, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"x" * 100_000, b"x" * 300_000, b"x" * 400_000])
def test_a_part_of_another_file_is_noticed_and_deleted(tmp_path, server, part):
    archive = published(server)
    (tmp_path / "file.gz.noprop_ode-part").write_bytes(part)
    if len(part) > len(CONTENT):
        assert download(archive, tmp_path).read_bytes() == CONTENT
        return
    with pytest.raises(DownloadError, match="SHA-256"):
        download(archive, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert download(archive, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("sent", [CONTENT + b"more", b"x" * len(CONTENT)])
def test_a_file_other_than_the_published_one_is_refused(tmp_path, server, sent):
    archive = published(server)
    server.files["file.gz"] = sent
    with pytest.raises(DownloadError, match="the published file has changed"):
        download(archive, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_shorter_than_the_published_one_is_refused(tmp_path, server):
    archive = published(server)
    server.files["file.gz"] = CONTENT[:1000]
    with pytest.raises(DownloadError, match=r"416|closed early"):
        download(archive, tmp_path)
    assert not (tmp_path / "file.gz").exists()


def publish_mnist(tmp_path, server, monkeypatch):
    made = write_idx(tmp_path / "published")
    archives = tuple(
        dataclasses.replace(
            published(server, (tmp_path / "published" / a.file_name).read_bytes(), a.file_name),
            unpacked=a.unpacked,
        )
        for a in SOURCES["mnist"].archives
    )
    monkeypatch.setitem(SOURCES, "mnist", dataclasses.replace(SOURCES["mnist"], archives=archives))
    return made


def test_prepare_downloads_and_goes_on_after_a_failure(tmp_path, server, monkeypatch, capsys):
    made = publish_mnist(tmp_path, server, monkeypatch)
    missing = server.files.pop("t10k-labels-idx1-ubyte.gz")
    assert main(["prepare", "mnist"]) == 1
    error = capsys.readouterr().err
    assert "404" in error and "--archives FOLDER" in error and f"{server.url}train-images-idx3-ubyte.gz" in error
    assert leftovers(tmp_path) == []
    server.files["t10k-labels-idx1-ubyte.gz"] = missing
    server.requests.clear()
    assert main(["prepare", "mnist"]) == 0
    assert server.requests == [("t10k-labels-idx1-ubyte.gz", None)]
    np.testing.assert_array_equal(data.load("mnist", validation=0).train.images[..., 0], made["train"][0])
    capsys.readouterr()
    main(["list"])
    assert "downloads" not in capsys.readouterr().out


def test_prepare_without_a_network(tmp_path, server, monkeypatch, capsys):
    publish_mnist(tmp_path, server, monkeypatch)
    server.shutdown()
    server.server_close()
    assert main(["prepare", "mnist"]) == 1
    error = capsys.readouterr().err
    assert "cannot fetch" in error and "--archives FOLDER" in error
    assert leftovers(tmp_path) == []


def test_published_sums_are_those_of_tfds():
    tfds = pytest.importorskip("tensorflow_datasets")
    for name, source in SOURCES.items():
        listing = (Path(tfds.__file__).parent / "url_checksums" / f"{name}.txt").read_text()
        theirs = {tuple(line.split()[:3]) for line in listing.splitlines()}
        assert {(a.url, str(a.size), a.sha256) for a in source.archives} == theirs
        assert tfds.builder_cls(name).VERSION == source.version
