"""The command line: prepare data sets, and list those that are prepared."""

import argparse
import json
import sys
from pathlib import Path

from ..._training.errors import RunError
from .._errors import DatasetError, MissingDependencyError
from .._folders import BUILT_IN, list_prepared, resolve_data_dir, unread_format
from ._prepare import prepare
from ._sources import SOURCES


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    **Arguments:**

    - `argv`: arguments; `None` for those of the process.

    **Returns:**

    The exit status: 0 done, 2 bad arguments or archives, 1 any other failure, 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        data_dir = resolve_data_dir(arguments.data_dir)
        if arguments.command == "list":
            _list(data_dir)
        else:
            _prepare(arguments.name, data_dir, arguments.archives)
        return 0
    except MissingDependencyError as error:
        return _fail(error, 1)
    except DatasetError as error:
        return _fail(error, 2)
    except (OSError, RunError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing is left half-made, run the same command to continue", 130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m noprop_ode.data", description="Prepare data sets, and list those that are prepared."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser(
        "prepare",
        help="make a data set ready to load, from its official archives (downloaded, or in a folder)",
    )
    making.add_argument("name", metavar="NAME", help=", ".join(SOURCES))
    making.add_argument(
        "--archives",
        type=Path,
        metavar="FOLDER",
        help="use the official archives in this folder instead of the network",
    )
    listing = commands.add_parser("list", help="list the data sets that are ready to load")
    for command in (making, listing):
        command.add_argument(
            "--data-dir",
            metavar="D",
            help="folder of prepared data sets; by default $TFDS_DATA_DIR, or else ~/tensorflow_datasets",
        )
    return parser


def _prepare(name: str, data_dir: Path, archives: Path | None) -> None:
    folder, made = prepare(name, data_dir, archives)
    print(f"{name} {'prepared' if made else 'is already prepared'} in {folder}: {_splits(folder)}")


def _list(data_dir: Path) -> None:
    print(f"{BUILT_IN}  (built in)")
    prepared = list_prepared(data_dir)
    for name, folder in prepared:
        other = unread_format(folder)
        note = f"  (format {other!r}, which cannot be loaded; move {folder} away to prepare it again)" if other else ""
        print(f"{name} {folder.name}  {_splits(folder)}{note}")
    if not prepared:
        print(f"nothing is prepared in {data_dir}", file=sys.stderr)


def _splits(folder: Path) -> str:
    try:
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
        counts = {split["name"]: sum(map(int, split["shardLengths"])) for split in info["splits"]}
    except (OSError, ValueError, KeyError, TypeError):  # one such folder does not hide the others
        return "its dataset_info.json cannot be read"
    return ", ".join(f"{split} {count}" for split, count in counts.items())


def _fail(error: object, status: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return status
