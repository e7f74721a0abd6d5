"""Turns the official archives of a data set into a folder that TFDS and `load` read."""

import os
import sys
from pathlib import Path

from ..._hints import did_you_mean
from ..._training.folder import RunFolder
from ..._types import AnyPath
from .._errors import DatasetError
from .._folders import unread_format
from .._tfds import import_tfds
from ._archives import Contents
from ._download import DownloadError, download, sha256_of
from ._sources import SOURCES, Archive, Source
from ._write import write_folder


def prepare(name: str, data_dir: AnyPath, archives: AnyPath | None) -> tuple[Path, bool]:
    """Make `data_dir/NAME/VERSION`, unless it is there already.

    **Arguments:**

    - `name`: a data set of `SOURCES`.
    - `data_dir`: folder of prepared data sets; created if missing.
    - `archives`: a folder that holds the official archives, packed or unpacked; `None` to download
      them to `data_dir/downloads/noprop_ode/NAME`, where they stay.

    **Returns:**

    The prepared folder, and whether this call made it.

    **Raises:**

    `DatasetError` for a bad name or bad archives, `OSError` if the network or the disk fails, `noprop_ode.RunError` if
    another run is preparing this data set or the folder cannot be written.
    """
    if name not in SOURCES:
        raise DatasetError(
            f"no data set {name!r} can be prepared here. {did_you_mean(name.lower(), SOURCES)} "
            "Other TFDS sets are prepared by TFDS itself, with file_format='array_record'."
        )
    source, data_dir = SOURCES[name], Path(data_dir)
    archives = None if archives is None else Path(archives)
    final = data_dir / name / source.version
    if _is_ready(final):
        return final, False
    if archives is not None and not archives.is_dir():
        raise DatasetError(f"expected --archives to be a folder, got {archives}")
    import_tfds()  # reports missing packages before anything is fetched
    downloads = data_dir / "downloads" / "noprop_ode"
    with RunFolder(final.parent):  # one run at a time downloads and writes this data set
        if _is_ready(final):  # another run may have finished between the first check and the lock
            return final, False
        if archives is None:
            paths = _download_all(name, source, downloads / name)
            contents = source.read(paths)
        else:
            paths = {archive.file_name: _find(archive, archives) for archive in source.archives}
            contents = source.read(paths)
            _compare(source, paths, contents)
        write_folder(name, contents, final)
    return final, True


def _is_ready(final: Path) -> bool:
    if (final / "dataset_info.json").is_file():
        if other := unread_format(final):
            raise DatasetError(
                f"expected array_record files in {final}, got format {other!r}, which cannot be loaded; "
                "move that folder away and run this again, or choose another --data-dir"
            )
        return True
    if os.path.lexists(final):
        raise DatasetError(f"{final} exists and holds no dataset_info.json; move it away and run this again")
    return False


def _download_all(name: str, source: Source, folder: Path) -> dict[str, Path]:
    try:
        return {archive.file_name: download(archive, folder) for archive in source.archives}
    except DownloadError as error:
        addresses = "\n".join(f"  {archive.url}" for archive in source.archives)
        raise DownloadError(
            f"{error}\nRun the same command to go on where this stopped. Without a network here, fetch\n"
            f"{addresses}\nelsewhere, put them in one folder and run "
            f"`python -m noprop_ode.data prepare {name} --archives FOLDER`."
        ) from error


def _find(archive: Archive, folder: Path) -> Path:
    unpacked = folder / archive.unpacked
    candidates = [folder / archive.file_name, folder / archive.file_name.removesuffix(".gz"), unpacked]
    for candidate in candidates:
        if candidate.is_file() or candidate.is_dir():
            return candidate
    if folder.name == archive.unpacked:
        return folder
    there = ", ".join(sorted(f.name for f in folder.iterdir())[:20]) or "nothing"
    raise DatasetError(
        f"expected {archive.file_name} (or {archive.unpacked}, unpacked) in {folder}, which holds {there}; "
        f"fetch it from {archive.url}"
    )


def _compare(source: Source, paths: dict[str, Path], contents: Contents) -> None:
    """Report on standard error how the user's archives differ from the published ones."""
    for archive in source.archives:
        path = paths[archive.file_name]
        if path.name != archive.file_name:
            _say(f"{path} is unpacked, so its checksum is not compared with the published one")
        elif (got := sha256_of(path)) != archive.sha256:
            _say(
                f"{path} has SHA-256\n  {got}\nwhere the published file has\n  {archive.sha256}\n"
                "its contents are well formed, so it is used all the same"
            )
    for split, expected in source.counts.items():
        if (count := len(contents.images[split])) != expected:
            _say(f"split {split!r} holds {count} images where the published one holds {expected}")


def _say(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
