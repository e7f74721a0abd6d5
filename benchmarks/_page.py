"""The page of the documentation, made from the stored results."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from ._figures import svg
from ._goals import Goal, goals_table
from ._record import ROOT, Result, Row, read
from ._text import table, where, wrapped


PAGE = ROOT / "docs" / "performance.md"
FIGURES = ROOT / "docs" / "_static" / "performance"
NAMES = (
    "train_step",
    "prediction",
    "cold_start",
    "input",
    "blocks_memory",
    "growth",
    "torch_step",
    "convolution",
)

_INTRODUCTION = """# Performance

Time and memory of training, prediction and startup, each compared with a known baseline. [Results](results.md) has the
accuracies. `python -m benchmarks run` runs all benchmarks, {minutes:.0f} minutes in total; `run NAME` runs one, `list`
lists them, and `page` writes this page.

Lower is better. A ratio is the median over rounds in which both sides take turns in one process; the quartiles are in
brackets. Times are CPU time, summed over cores, unless a column says *wall clock*, because other programs disturb CPU
time less. Compilation time, the first call minus a later one, is reported separately."""


class Benchmark(Protocol):
    """The interface of each module in `NAMES`."""

    TITLE: str
    __doc__: str | None

    def measure(self, quick: bool) -> Iterator[Row]:
        """Yields the rows as they are measured; a smoke run has small networks and few rounds."""
        ...

    def headline(self, rows: Sequence[Row]) -> str:
        """The answer in one line."""
        ...

    def section(self, rows: Sequence[Row]) -> str:
        """The section of the page."""
        ...

    def figures(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """The figures of the section, by file name."""
        ...

    # A module may also have `goals(rows)`: a sequence of `Goal`.


def benchmark(name: str) -> Benchmark:
    """A benchmark by its name."""
    return cast(Benchmark, importlib.import_module(f"benchmarks.{name}"))


def page(results: Path) -> str:
    """The page, from a folder of results."""
    found = {name: read(results / f"{name}.jsonl") for name in NAMES}
    short = [
        (f"[{benchmark(name).TITLE}](#{_anchor(name)})", _headline(name, result)) for name, result in found.items()
    ]
    minutes = sum(result.about["seconds"] for result in found.values() if result) / 60
    parts = [_INTRODUCTION.format(minutes=minutes) + "\n", "## In one screen\n", table(["", "result"], short) + "\n"]
    goals = [goal for name, result in found.items() if result for goal in _goals(name, result)]
    if goals:
        parts += ["## Goals\n", _GOALS + "\n", goals_table(goals) + "\n"]
    for name, result in found.items():
        parts.append(f"## {benchmark(name).TITLE}\n")
        parts.append((_NOT_YET.format(name=name) if result is None else _section(name, result)) + "\n")
    return "\n".join(parts)


_NOT_YET = "Not measured yet: `python -m benchmarks run {name}`."


_GOALS = "What the library aims for on two CPU cores, and what holds it back where it is not there yet."


def _goals(name: str, result: Result) -> Sequence[Goal]:
    own = getattr(benchmark(name), "goals", None)
    return [] if own is None else own(result.rows)


def _anchor(name: str) -> str:
    return benchmark(name).TITLE.lower().replace(" ", "-")


def _headline(name: str, result: Result | None) -> str:
    return "not measured yet" if result is None else benchmark(name).headline(result.rows)


def _section(name: str, result: Result) -> str:
    return f"{wrapped(benchmark(name).section(result.rows))}\n\n{where(result.about, name)}"


def draw(results: Path) -> Iterator[tuple[str, bytes]]:
    """The figure files, by name."""
    for name in NAMES:
        if result := read(results / f"{name}.jsonl"):
            for figure, drawn in benchmark(name).figures(result.rows).items():
                yield f"{figure}.svg", svg(drawn, result.rows)
