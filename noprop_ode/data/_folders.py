"""Where prepared data sets lie on disk: `data_dir/NAME[/CONFIG]/VERSION/dataset_info.json`."""

import json
import os
import re
import shlex
from pathlib import Path

from .._hints import did_you_mean
from ._errors import DatasetError, DatasetNotFoundError, MissingDependencyError


_NAME = re.compile(r"([\w-]+)(?:/([\w.+-]+))?(?::(\d+\.\d+\.\d+))?", re.ASCII)
_VERSION = re.compile(r"\d+\.\d+\.\d+", re.ASCII)

BUILT_IN = "digits"


def resolve_data_dir(data_dir: str | os.PathLike[str] | None) -> Path:
    """The folder of prepared data sets.

    **Arguments:**

    - `data_dir`: the folder; `None` for `$TFDS_DATA_DIR`, or `~/tensorflow_datasets` if that is not set.

    **Returns:**

    The folder, which need not exist.

    **Raises:**

    `DatasetError` for an invalid path.
    """
    return expanded(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with `~` expanded.

    **Arguments:**

    - `path`: a path that need not exist.

    **Returns:**

    The path.

    **Raises:**

    `DatasetError` for a path that is invalid or may not be accessed.
    """
    try:
        found = Path(path).expanduser()
    except RuntimeError as error:
        raise DatasetError(
            f"there is no home folder to find {str(path)!r} in: say where data are by --data-dir (data_dir=...) or "
            "TFDS_DATA_DIR"
        ) from error
    try:
        found.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # ValueError: a null byte
        why = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(f"cannot look at the path {ascii(str(path))[:200]}: {why}") from error
    return found


def find_versions(folder: Path) -> list[Path]:
    """List the prepared versions in the folder of one data set.

    **Arguments:**

    - `folder`: `data_dir/NAME` or `data_dir/NAME/CONFIG`.

    **Returns:**

    Version folders, the highest version last.
    """
    found = [f for f in _folders_in(folder) if _VERSION.fullmatch(f.name) and (f / "dataset_info.json").is_file()]
    return sorted(found, key=lambda f: tuple(int(part) for part in f.name.split(".")))


def list_prepared(data_dir: Path) -> list[tuple[str, Path]]:
    """List everything prepared under a folder.

    **Arguments:**

    - `data_dir`: the folder of prepared data sets.

    **Returns:**

    Pairs of a name that `load` takes (`NAME` or `NAME/CONFIG`) and a version folder.
    """
    found = []
    for folder in _folders_in(data_dir):
        found += [(folder.name, version) for version in find_versions(folder)]
        for config in _folders_in(folder):
            found += [(f"{folder.name}/{config.name}", version) for version in find_versions(config)]
    return found


def unread_format(folder: Path) -> str | None:
    """The format of a prepared folder, if it is one that is not read here.

    **Arguments:**

    - `folder`: a version folder.

    **Returns:**

    The name of the format, such as `"tfrecord"`; `None` if it is read, or if `dataset_info.json` does not say.
    """
    try:
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
        # Folders from before TFDS had a choice of formats do not name one.
        formats = [info.get("fileFormat", "tfrecord"), *info.get("alternativeFileFormats", [])]
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    return None if {"array_record", "parquet"} & set(map(str, formats)) else str(formats[0])


def find_folder(name: str, data_dir: Path) -> Path:
    """Find the folder of one prepared data set.

    **Arguments:**

    - `name`: `NAME`, `NAME/CONFIG`, `NAME:VERSION` or `NAME/CONFIG:VERSION`. Without a version, the
      highest on disk is taken; without a configuration, the only one on disk.
    - `data_dir`: the folder of prepared data sets.

    **Returns:**

    The version folder.

    **Raises:**

    `DatasetNotFoundError` if the data set is not prepared here, `DatasetError` if the name is unknown
    or ambiguous.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise DatasetError(f"expected a data set name such as 'mnist' or 'cifar10:3.0.2', got {name!r}")
    base, config, version = match.groups()
    folder = data_dir / base / config if config else data_dir / base
    versions = find_versions(folder)
    if not versions and not config:
        versions = [f for n, f in list_prepared(data_dir) if n.startswith(f"{base}/")]
        configs = sorted({f.parent.name for f in versions})
        if len(configs) > 1:
            raise DatasetError(
                f"{base!r} is prepared in {data_dir} in several configurations; "
                f"name one: {', '.join(f'{base}/{c}' for c in configs)}"
            )
    if version and versions:
        matching = [f for f in versions if f.name == version]
        if not matching:
            on_disk = ", ".join(f.name for f in versions)
            raise DatasetNotFoundError(
                f"expected version {version} of {base!r} in {versions[0].parent}, which has {on_disk}; "
                "leave the version out to take the highest"
            )
        return matching[0]
    if not versions:
        raise _not_found(name, base, data_dir)
    return versions[-1]


def _not_found(name: str, base: str, data_dir: Path) -> DatasetError:
    from .prepare import SOURCES  # only here: loading does not need the code for preparing

    here = {n for n, _ in list_prepared(data_dir)}
    known = {BUILT_IN, *SOURCES, *here, *(n.split("/")[0] for n in here), *_names_in_tfds()}
    there = f"prepared there: {', '.join(sorted(here))}" if here else "nothing is prepared there"
    if not data_dir.is_dir():
        there = "which is not a folder"
    if base not in known:
        expected = (
            f"Expected {BUILT_IN!r} (built in), one of {', '.join(SOURCES)}, or any TFDS image-classification set "
            f"prepared in {data_dir} ({there})."
        )
        hint = did_you_mean(name.lower(), known, otherwise="")
        return DatasetError(" ".join(filter(None, (f"unknown data set {name!r}.", hint, expected))))
    try:
        elsewhere = data_dir != resolve_data_dir(None)
    except DatasetError:  # of a user without a home
        elsewhere = True
    if base in SOURCES:
        where = f" --data-dir {shlex.quote(str(data_dir))}" if elsewhere else ""
        prepare = f"run `python -m noprop_ode.data prepare {base}{where}`"
    else:
        where = f"data_dir={str(data_dir)!r}, " if elsewhere else ""
        prepare = (
            f"let TFDS prepare it, tfds.builder({base!r}, {where}file_format='array_record')"
            f".download_and_prepare() (`python -m noprop_ode.data prepare NAME` knows {', '.join(SOURCES)})"
        )
    return DatasetNotFoundError(
        f"data set {name!r} is not prepared in {data_dir} ({there}). Three ways out: (1) {prepare}; "
        f"(2) point to a folder that has it with --data-dir (data_dir=...) or TFDS_DATA_DIR; "
        f"(3) use {BUILT_IN!r}, which is built in and needs no files."
    )


def _names_in_tfds() -> list[str]:
    from ._tfds import import_tfds

    try:
        # Community data sets are looked up over the network; the registered ones are not.
        return import_tfds().list_builders(with_community_datasets=False)
    except MissingDependencyError:
        return []


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
