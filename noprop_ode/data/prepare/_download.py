"""Fetches published files: resumable, checked, and clear about what went wrong."""

import hashlib
import http.client
import os
import ssl
import stat
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ._sources import Archive


_TIMEOUT = 30.0  # seconds without a byte before a connection counts as lost
_CHUNK = 2**18  # bytes


class DownloadError(OSError):
    """A published file could not be fetched, or is not what was published."""


class Progress:
    """A line on standard error that counts up; on a terminal it is rewritten in place."""

    def __init__(self, label: str, total: int, unit: str):
        self.label, self.total, self.unit, self.shown = label, total, unit, -1

    def __call__(self, done: int) -> None:
        """Show how much is done.

        **Arguments:**

        - `done`: number of units done so far.
        """
        percent = 100 * done // self.total
        finished = done >= self.total
        if percent == self.shown or not (finished or sys.stderr.isatty()):
            return
        self.shown = percent
        line = f"{self.label}: {done} of {self.total} {self.unit} ({percent}%)"
        print(f"\r{line}" if sys.stderr.isatty() else line, end="\n" if finished else "", file=sys.stderr)
        sys.stderr.flush()


def sha256_of(path: Path) -> str:
    """Hash a file.

    **Arguments:**

    - `path`: the file.

    **Returns:**

    Its SHA-256 in hexadecimal.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(archive: Archive, folder: Path) -> Path:
    """Fetch one published file, unless it is there already.

    Received data is kept in a `.noprop_ode-part` file, from whose end a later call continues. The file gets its final
    name only once its size and checksum are the published ones, and never replaces an existing file.

    **Arguments:**

    - `archive`: the file to fetch.
    - `folder`: where to put it; created if missing.

    **Returns:**

    The path of the complete, verified file.

    **Raises:**

    `DownloadError` if the server cannot be reached or sends something else, or if another file has the name.
    """
    target = folder / archive.file_name
    if os.path.lexists(target):
        if _size(target) == archive.size and sha256_of(target) == archive.sha256:
            return target
        raise DownloadError(
            f"expected nothing or the published file at {target}, got one with another checksum; move it away "
            "and run this again, or take it as it is with --archives FOLDER"
        )
    part = folder / f"{archive.file_name}.noprop_ode-part"
    if os.path.lexists(part) and not stat.S_ISREG(part.lstat().st_mode):
        raise DownloadError(f"expected nothing or a file of our own at {part}, got something else; move it away")
    if _size(part) > archive.size:
        part.unlink()
    progress = Progress(archive.file_name, archive.size, "bytes")
    while (before := _size(part)) < archive.size:
        reason = _fetch(archive, part, progress)
        # A broken connection is opened again as long as each one brings something.
        if _size(part) <= before:
            raise DownloadError(f"cannot fetch {archive.url}: {reason or 'the connection closed early'}")
    whole = _size(part) == archive.size
    got = sha256_of(part) if whole else f"{_size(part)} bytes"
    if got != archive.sha256:
        part.unlink()
        raise DownloadError(
            f"expected {archive.size} bytes with SHA-256 {archive.sha256} from {archive.url}, got {got}; "
            "what arrived was deleted: try again, and if it persists the published file has changed"
        )
    os.replace(part, target)
    return target


def _fetch(archive: Archive, part: Path, progress: Progress) -> str | None:
    start = _size(part)
    request = urllib.request.Request(archive.url, headers={"User-Agent": "noprop_ode"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            resumed = response.status == 206 and _starts_at(response, start)
            part.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "ab" if resumed else "wb") as file:
                _copy(response, file, archive.size, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the part does not fit the file on the server: start over
            part.unlink(missing_ok=True)
        return f"the server answered {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None


def _copy(response: Any, file: Any, size: int, progress: Progress) -> None:
    # One byte beyond the published size is enough to know that it is another file.
    while file.tell() <= size and (chunk := response.read1(_CHUNK)):
        file.write(chunk)
        progress(min(file.tell(), size))


def _starts_at(response: Any, start: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
