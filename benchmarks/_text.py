"""Formatting of the numbers, tables and text of the page."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from ._record import Row


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; numbers are right-aligned."""
    rows = [[str(cell) for cell in row] for row in rows]
    numbers = [all(_is_number(row[i]) for row in rows) for i in range(len(heads))]
    rule = "|".join("---:" if number else "---" for number in numbers)
    return "\n".join(["| " + " | ".join(heads) + " |", f"|{rule}|", *("| " + " | ".join(row) + " |" for row in rows)])


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"(-?[\d.]+( \(.*\))?)?", cell) is not None


def with_table(text: str, name: str, made: str) -> str:
    """The page with a table of it replaced: that between `<!-- table: NAME -->` and `<!-- end -->`."""
    marked = re.compile(rf"<!-- table: {re.escape(name)} -->\n.*?<!-- end -->", re.DOTALL)
    if len(marked.findall(text)) != 1:
        raise ValueError(f"The page needs one place for the table {name}: <!-- table: {name} --> and <!-- end -->.")
    return marked.sub(lambda _: f"<!-- table: {name} -->\n{made}\n<!-- end -->", text)


def ratio(quartiles: Sequence[float]) -> str:
    """The median, and the other quartiles in brackets."""
    low, mid, high = (f"{q:.3g}" if q < 0.5 or q >= 10 else f"{q:.2f}" for q in quartiles)
    return f"{mid} ({low} to {high})"


def milliseconds(value: float) -> str:
    """Seconds as milliseconds, to three digits."""
    return digits(1e3 * value)


def digits(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def where(about: Row, name: str) -> str:
    """The line that says how the figures of a section were measured."""
    versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
    load = "" if about["load"] is None else f", load {about['load']:g} at the start"
    quick = ", a smoke run whose figures mean nothing" if about["quick"] else ""
    return (
        f"*`python -m benchmarks run {name}`, {about['date']}, {about['seconds']:.0f} s{quick}: {about['cores']} cores "
        f"of {about['processor']}, {about['system']}{load}; {versions}.*"
    )


def wrapped(text: str) -> str:
    """Wraps the paragraphs of a section; tables and figures stay as they are."""
    return "\n\n".join(
        part if part.startswith(("|", "![")) else textwrap.fill(part, 118, break_on_hyphens=False)
        for part in text.split("\n\n")
    )
