"""The figures of the page: SVG files that record which rows they were drawn from."""

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

from ._record import Row


WIDTH, HEIGHT = 7.2, 3.4


def panels(count: int = 1, *, rows: int = 1, height: float = HEIGHT) -> tuple[Any, Sequence[Any]]:
    """An empty figure, and its axes, arranged in rows."""
    from noprop_ode.experiment.report._canvas import new_figure, tidy

    figure = new_figure(WIDTH, height)
    every = list(figure.subplots(rows, -(-count // rows), squeeze=False).ravel())
    axes, rest = every[:count], every[count:]
    for axis in rest:
        axis.remove()
    tidy(axes)
    return figure, axes


def logarithmic(axis: Any, *, x: bool = True, y: bool = True) -> None:
    """Logarithmic scales, with plain numbers at the ticks."""
    from noprop_ode.experiment.report._canvas import plain_ticks

    for on, scale, ticks in ((x, axis.set_xscale, axis.xaxis), (y, axis.set_yscale, axis.yaxis)):
        if on:
            scale("log")
            plain_ticks(ticks)


def digest(rows: Sequence[Row]) -> str:
    """A digest of the rows that a figure was drawn from, so that an outdated figure is recognised."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def svg(figure: Any, rows: Sequence[Row]) -> bytes:
    """The figure as an SVG file, the same bytes for the same rows."""
    import matplotlib

    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "noprop_ode", "svg.fonttype": "path"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Description": f"rows {digest(rows)}"})
    return content.getvalue()
