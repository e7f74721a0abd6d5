"""The page of the documentation, made of the stored results."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from ._figures import svg
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

Time and memory of training, prediction and a start, each beside something known. [Results](results.md) has the
accuracies. `python -m benchmarks run` measures, {minutes:.0f} minutes in all; `run NAME` measures one, `list` names
them, and `page` writes this page.

Lower is better. A ratio is the median over rounds in which both sides take turns in one process; the quartiles are in
brackets. Times are of the processor, summed over its cores, unless a column says *by the clock*: other programs
disturb them less. Compilation, the first call less a later one, is apart."""


class Benchmark(Protocol):
    """What each module of `NAMES` has."""

    TITLE: str
    __doc__: str | None

    def measure(self, quick: bool) -> Iterator[Row]:
        """The rows, as they are measured; of small networks and few rounds where it is a smoke run."""
        ...

    def headline(self, rows: Sequence[Row]) -> str:
        """The answer in one line."""
        ...

    def section(self, rows: Sequence[Row]) -> str:
        """What the page says."""
        ...

    def figures(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """The figures of the section, by the name of their file."""
        ...


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
    parts = [_INTRODUCTION.format(minutes=minutes) + "\n", "## In one screen\n", table(["", "found"], short) + "\n"]
    for name, result in found.items():
        parts.append(f"## {benchmark(name).TITLE}\n")
        parts.append((_NOT_YET.format(name=name) if result is None else _section(name, result)) + "\n")
    return "\n".join(parts)


_NOT_YET = "Not measured yet: `python -m benchmarks run {name}`."


def _anchor(name: str) -> str:
    return benchmark(name).TITLE.lower().replace(" ", "-")


def _headline(name: str, result: Result | None) -> str:
    return "not measured yet" if result is None else benchmark(name).headline(result.rows)


def _section(name: str, result: Result) -> str:
    return f"{wrapped(benchmark(name).section(result.rows))}\n\n{where(result.about, name)}"


def draw(results: Path) -> Iterator[tuple[str, bytes]]:
    """The files of the figures, by their names."""
    for name in NAMES:
        if result := read(results / f"{name}.jsonl"):
            for figure, drawn in benchmark(name).figures(result.rows).items():
                yield f"{figure}.svg", svg(drawn, result.rows)
