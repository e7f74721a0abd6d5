"""What our recipes aim for, beside what they reached: a table of docs/results.md, made from the records of runs.

The accuracies are those of the test set that `noprop-ode reproduce page` keeps in benchmarks/results/table.jsonl.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from noprop_ode.experiment.reproduce._page import draws_of
from noprop_ode.experiment.reproduce._words import changes_of, count, listed

from ._record import RESULTS
from ._text import with_table


RECORDS = RESULTS / "table.jsonl"

Record = dict[str, Any]
# How a prediction is named, and its accuracy in a record.
_WAYS: dict[str, Callable[[Record], float | None]] = {
    "the default": lambda r: r["ways"]["default"]["accuracy"] if r["protocol"] == "default" else None,
    "mirrored": lambda r: r.get("mirrored", {}).get("test", {}).get("accuracy"),
    "mirrored and shifted": lambda r: r.get("shifted", {}).get("test", {}).get("accuracy"),
    "the paper's protocol": lambda r: _mean(draws_of(r)),
}


class Goal(NamedTuple):
    """A test accuracy in per cent, of the runs of a configuration, with a bound for the minutes of training."""

    what: str
    configuration: str
    accuracy: float
    minutes: float | None = None
    way: str | None = None


GOALS = (
    Goal("MNIST, CT", "mnist_fast_ct", 99.5, 60),
    Goal("MNIST, FM", "mnist_fast_fm", 99.4, 60),
    Goal("MNIST, DT", "mnist_fast_dt", 99.4, 60),
    Goal("CIFAR-10, CT", "cifar10_fast_ct", 93.5, 100),
    Goal("CIFAR-10, CT, in less time", "cifar10_fast_ct", 90, 45),
    Goal("CIFAR-10, FM", "cifar10_fast_fm", 92),
    Goal("CIFAR-10, DT", "cifar10_fast_dt", 90),
    Goal("CIFAR-100, CT", "cifar100_fast_ct", 70, 170),
    Goal("CIFAR-100, FM", "cifar100_fast_fm", 65),
    Goal("CIFAR-10, CT, the paper's layers", "cifar10_ct", 75),
    Goal("MNIST, CT, the paper's settings", "paper/mnist_ct", 97.84, way="the paper's protocol"),
    Goal("MNIST, FM, the paper's settings", "paper/mnist_fm", 99.21, way="the paper's protocol"),
)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def table(records: Sequence[Record]) -> str:
    """The table: of the runs within the time, by the cheapest prediction with which one reaches the goal, the most
    accurate, that of the recipe as it is if there is one; if none does, the most accurate of all predictions."""
    heads = ["goal", "accuracy", "minutes of training", "reached", "by", "minutes", ""]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for goal in GOALS:
        found = _best(goal, records)
        bound = f"{goal.minutes:g}" if goal.minutes else ""
        if found is None:
            lines.append(f"| {goal.what} | {goal.accuracy:g} | {bound} | | | | not run |")
            continue
        accuracy, way, record = found
        met = "met" if accuracy >= goal.accuracy else "missed"
        by = listed(way, count(record["epochs"], "epoch"), changes_of(record))
        lines.append(
            f"| {goal.what} | {goal.accuracy:g} | {bound} | {accuracy:.2f} | {by} | {record['seconds'] / 60:.0f} "
            f"| {met} |"
        )
    return "\n".join(lines)


def _best(goal: Goal, records: Sequence[Record]) -> tuple[float, str, Record] | None:
    found = []
    for name, accuracy in _WAYS.items():
        if goal.way not in (None, name) or (goal.way is None and name == "the paper's protocol"):
            continue
        own = [
            (round(100 * value, 2), name, record)
            for record in records
            if record["configuration"] == goal.configuration
            and (goal.minutes is None or record["seconds"] <= 60 * goal.minutes)
            and (value := accuracy(record)) is not None
        ]
        found += own
        if reached := [each for each in own if each[0] >= goal.accuracy]:
            return max(reached, key=lambda each: (not changes_of(each[2]), each[0]))
    return max(found, key=lambda each: each[0], default=None)


def page(text: str) -> str:
    """The page with its table regenerated from the records."""
    records = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]
    return with_table(text, "goals", table(records))
