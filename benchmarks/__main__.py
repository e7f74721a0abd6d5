"""The performance of the library.

    python -m benchmarks list                  list the benchmarks
    python -m benchmarks run [NAME ...]        run the named benchmarks, or all
    python -m benchmarks run --quick           a smoke run with tiny networks: takes seconds, its figures mean nothing
    python -m benchmarks page                  write docs/performance.md and its figures from the stored results
    python -m benchmarks results               write the tables and figures of docs/results.md from the stored results

Each benchmark runs in its own process. If one fails, this is reported, and the others still run. `torch_step` needs
PyTorch: run it with the interpreter of an environment that has it.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from noprop_ode._training.files import write_file

from ._page import FIGURES, NAMES, PAGE, benchmark, draw, page
from ._record import RESULTS, ROOT, Result, machine, write
from ._skipped import Skipped


_SKIPPED = 77  # the exit code that test harnesses have for it


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. **Returns:** the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the benchmarks")
    run = commands.add_parser("run", help="run benchmarks")
    run.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all by default")
    run.add_argument("--quick", action="store_true", help="a smoke run; without --out its results are not kept")
    run.add_argument("--out", type=Path, help=f"folder for the results; by default {RESULTS.relative_to(ROOT)}")
    run.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    commands.add_parser("page", help=f"write {PAGE.relative_to(ROOT)}")
    commands.add_parser("results", help="write docs/results.md")
    args = parser.parse_args(arguments)
    if args.command == "list":
        for name in NAMES:
            print(f"{name:14s} {benchmark(name).__doc__}")
        return 0
    if args.command == "page":
        _write_page()
        return 0
    if args.command == "results":
        from ._results import write_results  # imports what takes a second

        write_results()
        return 0
    if unknown := [name for name in args.names if name not in NAMES]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; choose from {', '.join(NAMES)}")
    out = args.out or (None if args.quick else RESULTS)
    if args.here:
        return _measure(args.names[0], args.quick, out)
    return _run_all(args.names or NAMES, args.quick, out)


def _run_all(names: Sequence[str], quick: bool, out: Path | None) -> int:
    """Runs each in its own process, without a cache of compiled programs, which would hide compilation."""
    failed = []
    flags = [*(["--quick"] if quick else []), *([f"--out={out.resolve()}"] if out else [])]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    for name in names:
        command = [sys.executable, "-m", "benchmarks", "run", name, "--here", *flags]
        code = subprocess.run(command, cwd=ROOT, env=environment).returncode
        if code not in (0, _SKIPPED):
            failed.append(name)
            print(f"{name}: failed with exit code {code}; stored results are unchanged", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _measure(name: str, quick: bool, out: Path | None) -> int:
    import noprop_ode as no

    no.keep_freed_memory()
    began, about, rows = time.perf_counter(), machine(), []
    try:
        for row in benchmark(name).measure(quick):
            rows.append(row)
            print(f"{name}: {_short(row)}", flush=True)
    except Skipped as reason:
        print(f"{name}: skipped, {reason}", flush=True)
        return _SKIPPED
    seconds = round(time.perf_counter() - began, 1)
    if out is not None:
        write(out / f"{name}.jsonl", Result({"benchmark": name, "quick": quick, "seconds": seconds, **about}, rows))
    print(f"{name}: {seconds:.0f} s", flush=True)
    return 0


def _short(row: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in row.items())


def _write_page() -> None:
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name, content in draw(RESULTS):
        (FIGURES / name).write_bytes(content)
        print(f"{name}: {len(content) / 1024:.0f} KiB")
    write_file(PAGE, page(RESULTS).encode())


if __name__ == "__main__":
    sys.exit(main())
