"""The tables of the page of results."""

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._errors import ConfigError
from ._evaluations import evaluations_table
from ._predictions import predictions_table
from ._record import Record, own_settings
from ._rows import PAPER, SETS, Row
from ._words import changes_of, count, listed, name_of, named, per_cent, settings_of


_FIRST_BLOCK = "the first of its blocks"


def page(text: str, records: Sequence[Record], *, figures: str | None = None) -> str:
    """The page with its tables regenerated, each between `<!-- table: NAME -->` and `<!-- end -->`: `overview` has the
    runs of unchanged recipes, `other` those with other settings, `paper` the paper's table with our runs,
    `evaluations` how accuracy depends on their number, `sampled` whether trajectories follow the network's
    probabilities, and `predictions CONFIGURATION EPOCHS SETTING=VALUE ...` every
    prediction of one run.

    **Arguments:** the page, the records, and the folder of their figures as the page links it, if there are any.

    **Raises:** `ConfigError` for a page without a place for any table, with one that has no end, or with one of a run
    that is not there.
    """
    tables: dict[str, Callable[[Sequence[Record]], str]] = {
        "overview": functools.partial(_overview, changed=False),
        "other": functools.partial(_overview, changed=True),
        "paper": _paper,
        "sampled": _sampled,
        "evaluations": functools.partial(evaluations_table, figures=figures),
    }

    names = "|".join([*tables, r"predictions [^\n]+?"])
    marked = re.compile(rf"<!-- table: ({names}) -->\n(.*?)<!-- end -->", re.DOTALL)
    if not marked.search(text):
        raise ConfigError(
            f"The page has no place for a table: expected lines <!-- table: NAME --> and <!-- end -->, with NAME among "
            f"{', '.join(tables)}, and predictions CONFIGURATION EPOCHS."
        )

    def replace(match: re.Match[str]) -> str:
        if "<!-- table:" in match[2]:
            raise ConfigError(f"The table {match[1]} of the page has no <!-- end --> before the next table begins.")
        kind, _, which = match[1].partition(" ")
        made = predictions_table(records, which) if which else tables[kind](records)
        return f"<!-- table: {match[1]} -->\n{made}\n<!-- end -->"

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


def _by_data(records: Iterable[Record]) -> Sequence[tuple[tuple[Any, ...], list[Record]]]:
    """The groups in the order of the paper's data sets."""
    order = {data: i for i, data in enumerate(SETS)}
    return sorted(_groups(records).items(), key=lambda group: (order.get(group[0][0].data, len(SETS)), group[0]))


def _by_default(found: Record) -> float | None:
    """Accuracy with the model's default prediction; the paper's settings use the paper's protocol instead."""
    return found["ways"]["default"]["accuracy"] if found["protocol"] == "default" else None


def _of_default(runs: Sequence[Record]) -> str:
    """The same of several runs, with the number of evaluations."""
    return _with_evaluations(per_cent([_by_default(r) for r in runs]), [r["ways"]["default"] for r in runs])


def _of_views(runs: Sequence[Record], name: str) -> str:
    """The same, averaged over several views of an image."""
    ways = [r[name]["test"] for r in runs if name in r]
    return _with_evaluations(per_cent([way["accuracy"] for way in ways]), ways) if len(ways) == len(runs) else ""


def _with_evaluations(accuracy: str, ways: Sequence[Mapping[str, Any]]) -> str:
    counts = [way.get("nfe") for way in ways]
    known = bool(accuracy) and None not in counts
    return f"{accuracy} ({np.mean(np.asarray(counts, float)):.0f})" if known else accuracy


def _of_paper(runs: Sequence[Record]) -> str:
    """Accuracy with the paper's protocol: of several runs the mean over their means, of one that over its draws."""
    draws = [found for r in runs if (found := draws_of(r))]
    if len(draws) < len(runs):
        return ""
    return per_cent(draws[0] if len(runs) == 1 else [float(np.mean(of_run)) for of_run in draws])


def _times(runs: Sequence[Record]) -> str:
    """Of how many seeds a mean is; with one seed, of how many draws of noise."""
    return count(len(runs), "seed") if len(runs) > 1 else f"1 seed, {count(len(draws_of(runs[0])), 'draw')}"


def draws_of(found: Record) -> list[float]:
    """Accuracy of each draw of noise with the paper's protocol."""
    if found["variant"] == "supervised":
        return []  # it has no trajectory
    if draws := [draw["accuracy"] for draw in found.get("draws", [])]:
        return draws
    name = "default" if found["protocol"] == "paper" else "paper"
    return [found["ways"][name]["accuracy"]] if name in found["ways"] else []


def _beside(runs: Sequence[Record], twin: Sequence[Record]) -> str:
    """Accuracy of the supervised twin, and how far the runs are above it, in points."""
    of_twin, own = ([_by_default(r) for r in found] for found in (twin, runs))
    if not twin or None in (*of_twin, *own):
        return ""
    difference = 100 * (np.mean(np.asarray(own, float)) - np.mean(np.asarray(of_twin, float)))
    return f"{per_cent(of_twin)} ({difference:+.2f})"


def _is_twin(found: Record, run: Record) -> bool:
    """Whether a run is the supervised twin of another: it trains the same network (for DT, that of a block) on the same
    images for as many epochs, with the same optimiser."""
    if found["variant"] != "supervised" or any(found[name] != run[name] for name in ("data", "epochs")):
        return False
    a, b = found["settings"], run["settings"]
    return all(
        a[name] == b[name]
        for name in a.keys() & b.keys()
        if name.startswith(("data.", "model.field.", "optimiser.")) or name == "training.batch_size"
    )


def _overview(records: Sequence[Record], *, changed: bool) -> str:
    heads = ["data", "", "epochs", "seeds", "default", "mirrored", "and shifted"]
    heads += ["paper's protocol", "paper", "supervised twin", "minutes (CPU)", "GiB"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for (row, settings, epochs, changes, _), runs in _by_data(records):
        if bool(changes) != changed:
            continue
        twin = [found for found in records if _is_twin(found, runs[0])]
        cpu, gib = ([r[k] for r in runs if k in r] for k in ("cpu_seconds", "gib"))
        cells = [
            SETS.get(row.data, row.data),
            named(row.variant, row.embedding, settings, changes),
            str(epochs),
            str(len(runs)),
            _of_default(runs),
            *(_of_views(runs, name) for name in ("mirrored", "shifted")),
            _of_paper(runs),
            f"{PAPER[row]:.2f}" if row in PAPER else "",
            _beside(runs, twin) if row.variant != "supervised" else "",
            f"{np.mean([r['seconds'] for r in runs]) / 60:.0f}" + (f" ({np.mean(cpu) / 60:.0f})" if cpu else ""),
            f"{max(gib):.1f}" if gib else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _sampled(records: Sequence[Record]) -> str:
    heads = ["data", "", "epochs", "one evaluation", "mean probability of the true class", "one trajectory"]
    lines = [f"| {' | '.join(heads)} |", "|---|---|---:|---:|---:|---:|"]
    for (row, settings, epochs, changes, _), runs in _by_data(records):
        once = [found["once"] for found in runs if "once" in found]
        if len(once) < len(runs) or not all(map(draws_of, runs)):
            continue
        cells = [
            SETS.get(row.data, row.data),
            named(row.variant, row.embedding, settings, listed(changes, _FIRST_BLOCK if row.variant == "dt" else "")),
            str(epochs),
            per_cent([each["accuracy"] for each in once]),
            per_cent([each["probability"] for each in once]),
            f"{_of_paper(runs)} ({_times(runs)})",
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
                f"{_of_paper(runs)} ({listed(count(epochs, 'epoch'), _times(runs), changes)})"
                for (it, settings, epochs, changes, _), runs in sorted(groups.items())
                if it == row and settings == "paper"
            ]
            cells.append(f"{PAPER[row]:.2f}; {', '.join(found) or 'not run'}")
        lines.append(f"| {name_of(variant)}, {embedding} | {' | '.join(cells)} |")
    return "\n".join(lines)
