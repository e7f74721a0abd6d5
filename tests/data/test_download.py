"""Downloads, from a server on this machine."""

import dataclasses
import hashlib
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
from archives import leftovers, write_idx

from noprop_ode import data
from noprop_ode.data.__main__ import main
from noprop_ode.data.prepare import SOURCES
from noprop_ode.data.prepare._download import DownloadError, download
from noprop_ode.data.prepare._sources import Archive


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


def test_a_download_writes_over_no_file_of_the_users(tmp_path, server):
    archive = published(server)
    (tmp_path / "file.gz").write_text("mine")
    (tmp_path / "file.gz.part").write_text("mine too, from a browser")
    with pytest.raises(DownloadError, match="move it away"):
        download(archive, tmp_path)
    assert (tmp_path / "file.gz").read_text() == "mine" and server.requests == []
    (tmp_path / "file.gz").rename(tmp_path / "mine")
    (tmp_path / "file.gz.noprop_ode-part").symlink_to(tmp_path / "mine")
    with pytest.raises(DownloadError, match="move it away"):
        download(archive, tmp_path)
    assert (tmp_path / "mine").read_text() == "mine" and server.requests == []
    (tmp_path / "file.gz.noprop_ode-part").unlink()
    assert download(archive, tmp_path).read_bytes() == CONTENT
    assert (tmp_path / "file.gz.part").read_text() == "mine too, from a browser"


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
