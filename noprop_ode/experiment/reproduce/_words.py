"""How the tables name runs, and write numbers."""

from collections.abc import Sequence

import numpy as np

from ._record import Record


_HOW = {"paper": "the paper's settings", "ours": "our recipe", "fast": "the fast network"}
_NAMES = {
    "ct": "CT",
    "dt": "DT",
    "fm": "FM",
    "backprop": "back-propagation",
    "adjoint": "adjoint",
    "supervised": "supervised",
}


def settings_of(found: Record) -> str:
    name = found["configuration"]
    return "paper" if name.startswith("paper/") else "fast" if "_fast_" in name else "ours"


def changes_of(found: Record) -> str:
    """In what a run differs from its recipe."""
    return ", ".join(f"`{k.split('.')[-1]}` {v}" for k, v in found["changes"].items())


def named(variant: str, embedding: str, settings: str, changes: str) -> str:
    """The second column of the tables."""
    return listed(name_of(variant), embedding, _HOW[settings], changes)


def per_cent(values: Sequence[float | None]) -> str:
    """The mean in per cent, of several with its standard error; nothing if one is not known."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ""
    mean = f"{100 * np.mean(known):.2f}"
    return mean if len(known) < 2 else f"{mean} ± {100 * np.std(known, ddof=1) / np.sqrt(len(known)):.2f}"


def name_of(variant: str) -> str:
    return _NAMES.get(variant, variant)


def listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def count(n: int, of: str) -> str:
    return f"{n} {of}" + ("" if n == 1 else "s")
