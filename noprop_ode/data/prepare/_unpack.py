"""Unpacks gzip and tar in memory, taking no more memory or time than the published files would.

The standard library's `tarfile` trusts the archive: a sparse member of a few hundred bytes unpacks to gigabytes, and
extension headers choose their own size and may nest until the stack overflows. Only plain members are wanted here, and
a tar archive of those is a sequence of 512-byte blocks (POSIX.1-1988, "ustar").
"""

import contextlib
import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from .._errors import DatasetError


AGAIN = "fetch the archive again"
_BLOCK = 512
_CHUNK = 2**20
# Folders, a readme and what a desktop adds by itself: few, and small.
_OTHER_MEMBERS, _OTHER_BYTES = 64, 2**20
_PLAIN, _HEADERS = (b"0", b"\0"), b"xgLK"


def unzip(path: Path, most: int) -> bytes:
    """Read a file, unpacking it if it is gzipped.

    **Arguments:**

    - `path`: the file; its first bytes tell whether it is gzipped.
    - `most`: the maximum length of its contents, in bytes.

    **Returns:**

    Its contents.

    **Raises:**

    `DatasetError` if it is damaged, holds more, or is not a file.
    """
    with _stream(path, most) as stream:
        data = stream.take(most)
        stream.end()
    return data


def read_folder(path: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """Read the files of an unpacked archive.

    **Arguments:**

    - `path`: the folder.
    - `sizes`: the wanted files, and the maximum length of each in bytes.

    **Returns:**

    The contents of each file.

    **Raises:**

    `DatasetError` if one is missing or longer.
    """
    missing = [name for name in sizes if not (path / name).is_file()]
    if missing:
        raise DatasetError(f"expected {', '.join(missing)} in {path}, which has none; unpack the archive again")
    return {name: unzip(path / name, most) for name, most in sizes.items()}


def read_tar(path: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """Read the wanted members of a tar archive, gzipped or not; nothing is written anywhere.

    **Arguments:**

    - `path`: the archive.
    - `sizes`: the wanted members by the last part of their names, and the maximum length of each in bytes.

    **Returns:**

    The contents of each member.

    **Raises:**

    `DatasetError` if the archive is damaged or holds more than was published, or if a member is missing, duplicated or
    not a plain file.
    """
    most = sum(sizes.values()) + _OTHER_BYTES + 2 * _BLOCK * (len(sizes) + _OTHER_MEMBERS)
    members: dict[str, bytes] = {}
    with _stream(path, most) as stream:
        for _ in range(len(sizes) + _OTHER_MEMBERS):
            header = stream.take(_BLOCK)
            if header == bytes(_BLOCK) or not header:
                break
            name, kind, size = _parse_header(header, path)
            wanted = name in sizes and kind not in _HEADERS
            if wanted and (kind not in _PLAIN or name in members or size > sizes[name]):
                raise DatasetError(f"expected one plain file {name} of at most {sizes[name]} bytes in {path}; {AGAIN}")
            data = stream.take(size, keep=wanted)
            stream.take(-size % _BLOCK)
            if wanted:
                members[name] = data
        else:
            raise DatasetError(f"expected about {len(sizes)} members in {path}, got many more; {AGAIN}")
        stream.end()
    missing = [name for name in sizes if name not in members]
    if missing:
        raise DatasetError(
            f"expected {', '.join(missing)} in {path}, which has none; it must be the binary version, whole: {AGAIN}"
        )
    return members


def _parse_header(header: bytes, path: Path) -> tuple[str, bytes, int]:
    """The last part of the name, the kind and the size of a member."""
    try:
        # The sum of all bytes, with its own field taken as blanks.
        total = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
        if len(header) < _BLOCK or int(header[148:156].rstrip(b"\0 "), 8) != total:
            raise ValueError("a header whose checksum is wrong")
        kind = header[156:157]
        # Links and devices have no data, whatever their size says. Other fields are octal digits.
        size = int(header[124:136].rstrip(b"\0 ") or b"0", 8) if kind not in b"123456" else 0
        if size < 0:
            raise ValueError("a negative size")
    except ValueError as error:
        raise DatasetError(f"expected a whole tar archive in {path}, got: {error}; {AGAIN}") from error
    name = header[:100].split(b"\0")[0].decode("utf-8", "replace")
    return PurePosixPath(name).name, kind, size


class _Stream:
    """Bytes in their order, which end with an error if there are more than expected."""

    def __init__(self, file: Any, path: Path, most: int):
        self.file, self.path, self.most, self.left = file, path, most, most

    def take(self, count: int, *, keep: bool = True) -> bytes:
        """The next `count` bytes, or fewer at the end; read and discarded unless `keep`."""
        if count > self.left:
            raise self.too_long()
        chunks = []
        while count and (chunk := self.file.read(min(count, _CHUNK))):
            count -= len(chunk)
            self.left -= len(chunk)
            if keep:
                chunks.append(chunk)
        return b"".join(chunks)

    def end(self) -> None:
        """Read the rest, whose last bytes hold the checksum."""
        while chunk := self.file.read(_CHUNK):
            self.left -= len(chunk)
            if self.left < 0:
                raise self.too_long()

    def too_long(self) -> DatasetError:
        """The error to raise if there is more than expected."""
        return DatasetError(f"expected at most {self.most} bytes in {self.path}, got more; {AGAIN}")


@contextlib.contextmanager
def _stream(path: Path, most: int) -> Iterator[_Stream]:
    if not path.is_file():  # reading a pipe could wait forever
        raise DatasetError(f"expected a file at {path}, got something else or nothing; {AGAIN}")
    # Compression makes nothing much longer, and the time to read a file also grows with its own length.
    if path.stat().st_size > most + most // 100 + _CHUNK:
        raise DatasetError(f"expected at most {most} bytes in {path}, got a longer file; {AGAIN}")
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            if path.suffix == ".gz" and not zipped:
                raise gzip.BadGzipFile("not gzipped")
            yield _Stream(gzip.GzipFile(fileobj=file) if zipped else file, path, most)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            kind = "tar archive" if ".tar" in path.suffixes else "gzip file"
            raise DatasetError(f"expected a whole {kind} in {path}, got: {error}; {AGAIN}") from error
