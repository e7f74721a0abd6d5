"""What was aimed for, what was reached, and what holds the rest back."""

from collections.abc import Sequence
from typing import NamedTuple

from ._text import digits, table


class Goal(NamedTuple):
    """A figure to stay below: what is measured, the bound, the unit of both, and why it is missed if it is."""

    what: str
    reached: float
    bound: float
    unit: str = ""
    held_back: str = ""

    @property
    def met(self) -> bool:
        # As the table shows it: a figure that reads 1.05 meets 1.05.
        return float(digits(self.reached)) <= self.bound


def goals_table(goals: Sequence[Goal]) -> str:
    """The table of the page."""
    cells = [
        (g.what, f"{g.bound:g}{g.unit}", f"{digits(g.reached)}{g.unit}", "met" if g.met else f"missed: {g.held_back}")
        for g in goals
    ]
    return table(["goal", "at most", "reached", ""], cells)
