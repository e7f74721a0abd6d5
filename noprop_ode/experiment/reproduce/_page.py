"""The tables of the page of results."""

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._errors import ConfigError
from ._evaluations import evaluations_table
from ._record import Record, own_settings
from ._rows import PAPER, SETS, Row
from ._words import changes_of, count, listed, name_of, named, per_cent, settings_of


def page(text: str, records: Sequence[Record], *, figures: str | None = None) -> str:
    """The page with its tables regenerated, each between `<!-- table: NAME -->` and `<!-- end -->`: `overview` has the
    runs of unchanged recipes, `other` those with other settings, `paper` the paper's table with our runs, and
    `evaluations` how accuracy depends on their number.

    **Arguments:** the page, the records, and the folder of their figures as the page links it, if there are any.

    **Raises:** `ConfigError` for a page without a place for any table, or with one that has no end.
    """
    tables: dict[str, Callable[[Sequence[Record]], str]] = {
        "overview": functools.partial(_overview, changed=False),
        "other": functools.partial(_overview, changed=True),
        "paper": _paper,
        "evaluations": functools.partial(evaluations_table, figures=figures),
    }

    marked = re.compile(rf"<!-- table: ({'|'.join(tables)}) -->\n(.*?)<!-- end -->", re.DOTALL)
    if not marked.search(text):
        raise ConfigError(
            f"The page has no place for a table: expected lines <!-- table: NAME --> and <!-- end -->, with NAME among "
            f"{', '.join(tables)}."
        )

    def replace(match: re.Match[str]) -> str:
        if "<!-- table:" in match[2]:
            raise ConfigError(f"The table {match[1]} of the page has no <!-- end --> before the next table begins.")
        return f"<!-- table: {match[1]} -->\n{tables[match[1]](records)}\n<!-- end -->"

    return marked.sub(replace, text)


def _groups(records: Iterable[Record]) -> Mapping[tuple[Any, ...], list[Record]]:
    """Groups of runs that differ only in their seed."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for found in records:
        row = Row(found["data"], found["variant"], found["embedding"])
        settings = {name: v for name, v in own_settings(found).items() if not name.startswith("model.variant.")}
        own = json.dumps(settings, sort_keys=True)
        groups.setdefault((row, settings_of(found), found["epochs"], changes_of(found), own), []).append(found)
    return groups


def _by_default(found: Record) -> float | None:
    """Accuracy with the model's default prediction; the paper's settings use the paper's protocol instead."""
    return found["ways"]["default"]["accuracy"] if found["protocol"] == "default" else None


def _by_views(found: Record, name: str) -> float | None:
    """Accuracy with the model's default prediction, averaged over several views of an image."""
    return found[name]["test"]["accuracy"] if name in found else None


def _by_paper(found: Record) -> float | None:
    """Accuracy with the paper's protocol, the mean of the draws."""
    if found["variant"] == "supervised":
        return None  # it has no trajectory
    if draws := [draw["accuracy"] for draw in found.get("draws", [])]:
        return float(np.mean(draws))
    name = "default" if found["protocol"] == "paper" else "paper"
    return found["ways"][name]["accuracy"] if name in found["ways"] else None


def _of_one_network(a: Record, b: Record) -> bool:
    """Whether two runs train the same network on the same images, with the same optimiser."""
    a, b = a["settings"], b["settings"]
    return all(
        a[name] == b[name]
        for name in a.keys() & b.keys()
        if name.startswith(("data.", "model.field.", "optimiser.")) or name == "training.batch_size"
    )


def _overview(records: Sequence[Record], *, changed: bool) -> str:
    heads = ["data", "", "epochs", "seeds", "default", "mirrored", "and shifted"]
    heads += ["paper's protocol", "paper", "supervised twin", "minutes (CPU)", "GiB"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    groups = _groups(records)
    order = {data: i for i, data in enumerate(SETS)}
    by_data = sorted(groups.items(), key=lambda group: (order.get(group[0][0].data, len(SETS)), group[0]))
    for (row, settings, epochs, changes, own), runs in by_data:
        if bool(changes) != changed:
            continue
        twin = groups.get((Row(row.data, "supervised", "one-hot"), settings, epochs, changes, own), [])
        twin = [found for found in twin if _of_one_network(found, runs[0])]
        cpu, gib = ([r[k] for r in runs if k in r] for k in ("cpu_seconds", "gib"))
        cells = [
            SETS.get(row.data, row.data),
            named(row.variant, row.embedding, settings, changes),
            str(epochs),
            str(len(runs)),
            per_cent([_by_default(r) for r in runs]),
            *(per_cent([_by_views(r, name) for r in runs]) for name in ("mirrored", "shifted")),
            per_cent([_by_paper(r) for r in runs]),
            f"{PAPER[row]:.2f}" if row in PAPER else "",
            per_cent([_by_default(r) for r in twin]) if twin and row.variant != "supervised" else "",
            f"{np.mean([r['seconds'] for r in runs]) / 60:.0f}" + (f" ({np.mean(cpu) / 60:.0f})" if cpu else ""),
            f"{max(gib):.1f}" if gib else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _paper(records: Sequence[Record]) -> str:
    lines = [f"| | {' | '.join(SETS.values())} |", "|---" * (1 + len(SETS)) + "|"]
    groups = _groups(records)
    for variant, embedding in dict.fromkeys((row.variant, row.embedding) for row in PAPER):
        cells = []
        for data in SETS:
            row = Row(data, variant, embedding)
            found = [
                f"{per_cent([_by_paper(r) for r in runs])} "
                f"({listed(count(epochs, 'epoch'), count(len(runs), 'seed'), changes)})"
                for (it, settings, epochs, changes, _), runs in sorted(groups.items())
                if it == row and settings == "paper"
            ]
            cells.append(f"{PAPER[row]:.2f}" + (f"; {', '.join(found)}" if found else ""))
        lines.append(f"| {name_of(variant)}, {embedding} | {' | '.join(cells)} |")
    return "\n".join(lines)
