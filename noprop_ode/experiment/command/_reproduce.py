"""The command `noprop-ode reproduce`."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ... import RunError
from ..._training import files
from .._main import guarded
from .._seeds import parse_seeds
from ..report import _canvas
from ..reproduce import figures, identity, jobs, page, record, work
from ..reproduce._rows import SETTINGS, rows_of
from ._parser import parser_of


_ABOUT = """The paper's table: its rows as runs, one after another, and a page of their results.

    %(prog)s run --out runs/table --rows mnist/ct/one-hot "cifar10/*/one-hot" --seeds 3 --hours 8
    %(prog)s run --out runs/table --settings fast --rows cifar10/ct/one-hot
    %(prog)s run --out runs/table --rows "mnist/*/one-hot" -- --epochs 3
    %(prog)s page runs/table/* --records benchmarks/results/table.jsonl --page docs/results.md \\
        --figures docs/_static/results

The same command continues where it was stopped, even days later. Arguments after -- are settings for every run.
"""


def reproduce_command(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> None:
    """The command `noprop-ode reproduce`: runs the rows of the paper's table, and writes the tables of the results.

    **Arguments:** as for [`noprop_ode.experiment.evaluate_command`][].
    """
    parser = parser_of(_ABOUT, prog)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="train and evaluate rows")
    runs.add_argument("--out", type=Path, required=True, help="folder of all runs")
    runs.add_argument(
        "--rows", nargs="+", default=[], metavar="DATA/VARIANT/EMBEDDING", help="all by default; * matches any"
    )
    runs.add_argument(
        "--settings", choices=SETTINGS, default="paper", help="the paper's, our recipes', or those of the fast network"
    )
    runs.add_argument("--seeds", default="1", help="0,1,2, or the number of seeds, 3; 1 by default")
    runs.add_argument("--draws", type=int, default=5, help="draws of noise for the paper's protocol; the paper's 5")
    runs.add_argument("--hours", type=float, help="stop after this time, and save the current run")
    runs.add_argument("overrides", nargs="*", help="settings for every run, after --")
    pages = commands.add_parser("page", help="write the tables and figures of a page")
    pages.add_argument("runs", type=Path, nargs="*", help="folders of finished runs; others are skipped")
    pages.add_argument("--records", type=Path, required=True, help="file that keeps the results, one line per run")
    pages.add_argument("--page", type=Path, required=True, help="Markdown file with places for the tables")
    pages.add_argument("--figures", type=Path, help="folder for the figures of the page; without it none are drawn")
    args = parser.parse_args(arguments)
    guarded(lambda: _run(args) if args.command == "run" else _page(args))


def _run(args: argparse.Namespace) -> None:
    if sys.platform == "win32":
        raise RunError(
            "What a run costs is asked of a system of POSIX, and this is Windows; noprop-ode train runs a row."
        )
    args.out.mkdir(parents=True, exist_ok=True)
    rows = rows_of(args.rows, args.settings)
    queue = jobs(rows, args.settings, parse_seeds(args.seeds), args.overrides, args.out)
    failed = work(queue, draws=args.draws, hours=args.hours, say=lambda text: print(text, flush=True))
    print(f"{sum(job.finished for job in queue)} of {len(queue)} runs are finished")
    if failed:
        sys.exit(1)


def _page(args: argparse.Namespace) -> None:
    at_first = files.identity(args.records)
    records = _read(args.records)
    for run in args.runs:
        try:
            found = record(run)
        except RunError as error:
            print(f"passed over: {error}", file=sys.stderr)
            continue
        before = records.get(identity(found), {})
        same = before.get("ways") == found["ways"]  # trained again somewhere else, it may not be measured yet
        records[identity(found)] = {**(before if same else {}), **found}
    every = list(records.values())
    folder: Path | None = args.figures
    link = None if folder is None else Path(os.path.relpath(folder, args.page.parent)).as_posix()
    # Everything is made before anything is written.
    text = "".join(json.dumps(each) + "\n" for each in every)
    tables = page(args.page.read_text(encoding="utf-8"), every, figures=link)
    drawn = {} if folder is None else {folder / name: figure for name, figure in figures(every).items()}
    if files.identity(args.records) != at_first:
        raise RunError(f"{args.records} was changed by another program meanwhile. Nothing is written; run this again.")
    files.write_file(args.records, text.encode())
    files.write_file(args.page, tables.encode())
    for path, figure in drawn.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _canvas.save(figure, path)
    print(f"{len(records)} runs are in {args.page}")


def _read(path: Path) -> dict[str, Any]:
    """The records of a file, by their identity.

    **Raises:** [`noprop_ode.RunError`][] for a line that is not a record.
    """
    records = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
            records[identity(found)] = found
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path}, line {number}, is no record of a run ({type(error).__name__}): mend or remove it."
            ) from error
    return records
