"""Accuracy against the number of evaluations: a table of how few are enough, and a figure per run."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..report import CostPoint, cost_figure
from ._record import Record, identity
from ._rows import SETS
from ._words import changes_of, count, named, settings_of


_EXACT, _DEFAULT = "Euler", "the default"  # the last point of the former has so many steps that it is exact
_NEAR = 0.001  # difference in accuracy that counts as none


def figures(records: Sequence[Record]) -> dict[str, Any]:
    """The figure of each run whose evaluations were measured, by the name of its file."""
    return {_file(found): cost_figure(_points(found), _images(found), _title(found)) for found in _measured(records)}


def evaluations_table(records: Sequence[Record], *, figures: str | None) -> str:
    """How many evaluations per image each sampler takes to be as accurate as exact steps, and the figures."""
    runs = [(found, _points(found)) for found in _measured(records)]
    samplers = list(dict.fromkeys(name for _, points in runs for name in points if name != _DEFAULT))
    heads = ["data", "", _DEFAULT, "1000 Euler steps", *samplers]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for found, points in runs:
        exact = points[_EXACT][-1]
        cells = [
            SETS.get(found["data"], found["data"]),
            _name(found),
            _cell(points[_DEFAULT][0]),
            _cell(exact),
            *(_fewest(points.get(name, ()), exact.accuracy) for name in samplers),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    pictures = [] if figures is None else [f"![{_title(found)}]({figures}/{_file(found)})" for found, _ in runs]
    return "\n\n".join(["\n".join(lines), *pictures])


def _measured(records: Sequence[Record]) -> list[Record]:
    order = {data: i for i, data in enumerate(SETS)}
    measured = [found for found in records if found.get("evaluations", {}).get("points")]
    return sorted(measured, key=lambda found: order.get(found["data"], len(SETS)))


def _points(found: Record) -> Mapping[str, Sequence[CostPoint]]:
    return {
        name: [CostPoint(*(np.nan if value is None else value for value in point)) for point in own]
        for name, own in found["evaluations"]["points"].items()
    }


def _images(found: Record) -> int:
    return found["evaluations"]["images"]


def _name(found: Record) -> str:
    return named(found["variant"], found["embedding"], settings_of(found), changes_of(found))


def _title(found: Record) -> str:
    data = SETS.get(found["data"], found["data"])
    how = f"{data}, {_name(found)}, {count(found['epochs'], 'epoch')}, seed {found['seed']}".replace("`", "")
    return f"{how}; {_images(found)} held-out images"


def _file(found: Record) -> str:
    digest = hashlib.sha256(identity(found).encode()).hexdigest()[:8]
    return f"{found['configuration'].replace('/', '-')}-{digest}.svg"


def _cell(point: CostPoint) -> str:
    return f"{100 * point.accuracy:.2f} ({point.evaluations:.0f})"


def _fewest(points: Sequence[CostPoint], accuracy: float) -> str:
    """The cheapest that is as accurate; a dash if none is, and nothing if the sampler does not suit the model."""
    near = [point for point in points if point.accuracy >= accuracy - _NEAR - 1e-9]
    if not near:
        return "–" if points else ""
    return _cell(min(near, key=lambda point: point.evaluations))
