"""How the tables name runs and write numbers."""

from collections.abc import Sequence

import numpy as np

from .._recipes import config_names
from ._record import Record, changes


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
    """Whose settings a run has: `paper`, `fast`, `ours`, or the name of a configuration that is not of this package."""
    name, data, variant = (found[key] for key in ("configuration", "data", "variant"))
    whose = {f"paper/{data}_{variant}": "paper", f"{data}_fast_{variant}": "fast", f"{data}_{variant}": "ours"}
    return whose.get(name, str(name)) if name in config_names() else str(name)


def changes_of(found: Record) -> str:
    """How a run differs from its recipe: each setting by the end of its path, or by the full path if that is needed to
    tell it from another."""
    differing = changes(found)
    ends = [_end(path) for path in differing]
    names = [end if ends.count(end) == 1 else path for path, end in zip(differing, ends)]
    return ", ".join(f"`{name}` {value}" for name, value in zip(names, differing.values()))


def _end(path: str) -> str:
    return path.removesuffix(".type").split(".")[-1]


def named(variant: str, embedding: str, settings: str, changes: str) -> str:
    """The second column of the tables."""
    return listed(name_of(variant), embedding, _HOW.get(settings, f"`{settings}`"), changes)


def per_cent(values: Sequence[float | None]) -> str:
    """The mean in per cent, with its standard error if there are several; nothing if one is not known."""
    known = [value for value in values if value is not None]
    return "" if len(known) < len(values) else _mean(known, 2, scale=100)


def fraction(values: Sequence[float]) -> str:
    """The mean, with its standard error if there are several."""
    return _mean(values, 4)


def _mean(values: Sequence[float], digits: int, scale: int = 1) -> str:
    mean = f"{scale * np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {scale * np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}"


def name_of(variant: str) -> str:
    return _NAMES.get(variant, variant)


def listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def count(n: int, of: str) -> str:
    return f"{n} {of}" + ("" if n == 1 else "s")
