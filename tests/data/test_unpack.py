"""Archives that are damaged or hostile: our own error, in bounded memory and time."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import time
import tracemalloc

import numpy as np
import pytest

from noprop_ode.data import DatasetError
from noprop_ode.data.prepare._unpack import read_folder, read_tar, unzip


SIZES = {"one.bin": 5000, "two.bin": 3000, "names.txt": 100}
MEMBERS = {"one.bin": bytes(range(250)) * 20, "two.bin": b"x" * 3000, "names.txt": b"a\nb\n"}


def tar_of(members, form=tarfile.USTAR_FORMAT, prefix="set/"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(prefix + name)
            info.size, info.mtime = len(content), 1.5  # a fraction makes a pax header
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def header(name, kind=b"0", size=0):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.fixture(autouse=True)
def bounded():
    """No test here takes much memory, or long even on a busy machine."""
    tracemalloc.start()
    began = time.monotonic()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20 and time.monotonic() - began < 60


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_whole_archives_are_read(tmp_path, form, pack):
    path = tmp_path / ("set.tar" if pack is bytes else "set.tar.gz")
    path.write_bytes(pack(tar_of({"readme.html": b"more", **MEMBERS}, form)))
    assert read_tar(path, SIZES) == MEMBERS


def sparse():
    """A member of 1.8 GB in a few hundred bytes, as GNU tar writes files with holes."""
    block = bytearray(header("set/one.bin", tarfile.GNUTYPE_SPARSE, 0))
    block[483:495] = b"%011o\0" % 1_800_000_000
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
    return bytes(block) + bytes(1024)


def sparse_by_pax():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("set/one.bin")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**31)}
        info.size = 512
        tar.addfile(info, io.BytesIO(b"0\n".ljust(512, b"\0")))
    return buffer.getvalue()


def changed(at, content):
    whole = bytearray(tar_of(MEMBERS))
    whole[at : at + len(content)] = content
    return bytes(whole)


HOSTILE = {
    "sparse": sparse(),
    "sparse by pax": sparse_by_pax(),
    "nested headers": header("x", b"L", 512) * 100_000,
    "nested headers with data": (header("x", b"L", 512) + bytes(512)) * 100_000,
    "pax headers": (header("x", b"x", 30) + b"30 a=b".ljust(512, b"\0")) * 10_000,
    "a pax header of many digits": header("x", b"x", 2**30) + b"1" * 2**20,
    "very many members": header("x") * 100_000,
    "a great member": header("set/one.bin", size=2**40),
    "a great member that is not wanted": header("readme.html", size=2**62),
    "a doubled member": header("deep/two.bin") + tar_of(MEMBERS),
    "a link": header("set/one.bin", b"2"),
    "a device": header("set/one.bin", b"3"),
    "one byte too many": tar_of({**MEMBERS, "two.bin": b"x" * 3001}),
    "a negative size": changed(124, b"\xff" * 12),
    "a wrong checksum": changed(0, b"X"),
    "a size of no digits": changed(124, b"zz"),
    "cut in a header": tar_of(MEMBERS)[:700],
    "nothing": b"",
    "zeros": bytes(2**20),
    "text": b"<html>404</html>" * 100,
    "xz": lzma.compress(tar_of(MEMBERS)),
    "damaged xz": lzma.compress(tar_of(MEMBERS))[:40],
    "bz2": bz2.compress(tar_of(MEMBERS)),
    "much after the end": tar_of(MEMBERS) + bytes(2**22),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tar_archives_are_refused(tmp_path, name, pack):
    path = tmp_path / ("set.tar" if pack is bytes else "set.tar.gz")
    path.write_bytes(pack(HOSTILE[name]))
    with pytest.raises(DatasetError, match="fetch the archive again"):
        read_tar(path, SIZES)
    assert os.listdir(tmp_path) == [path.name]


def bomb(length):
    """Zeros, a thousandth of their length."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="w", compresslevel=1) as file:
        for _ in range(length // 2**20):
            file.write(bytes(2**20))
    return buffer.getvalue()


def test_bombs_are_refused(tmp_path):
    for name in ("set.gz", "set.tar.gz"):
        (tmp_path / name).write_bytes(bomb(2**28))
    with pytest.raises(DatasetError, match="at most 5000 bytes"):
        unzip(tmp_path / "set.gz", 5000)
    with pytest.raises(DatasetError, match="fetch the archive again"):
        read_tar(tmp_path / "set.tar.gz", SIZES)
    (tmp_path / "one.bin").write_bytes(bomb(2**28))
    with pytest.raises(DatasetError, match="at most 5000 bytes"):
        read_folder(tmp_path, {"one.bin": 5000})


def test_files_that_are_too_long_are_not_even_begun(tmp_path):
    path = tmp_path / "set.gz"
    with open(path, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(DatasetError, match="got a longer file"):
        unzip(path, 5000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_on(tmp_path):
    os.mkfifo(tmp_path / "set.gz")
    with pytest.raises(DatasetError, match="expected a file"):
        unzip(tmp_path / "set.gz", 5000)


def test_mutated_archives_are_read_alike_or_refused(tmp_path):
    rng = np.random.default_rng(0)
    whole, path = tar_of(MEMBERS, tarfile.PAX_FORMAT), tmp_path / "set.tar"
    packed = gzip.compress(whole)
    for i in range(500):
        content = bytearray(packed if i % 2 else whole)
        for at in rng.integers(0, len(content) if i % 2 else 2048, rng.integers(1, 4)):
            content[at] = rng.integers(256)
        if i % 5 == 0:
            del content[rng.integers(len(content)) :]
        path.write_bytes(content)
        try:
            members = read_tar(path, SIZES)
        except DatasetError:
            continue
        assert sorted(members) == sorted(SIZES) and all(len(members[name]) <= SIZES[name] for name in SIZES)
