"""The results file of a benchmark: one JSON object per line, first where and when it ran, then one per case."""

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
_PACKAGES = ("jax", "jaxlib", "equinox", "diffrax", "optax", "torch")

Row = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The result of a benchmark run: where and when it ran, and one row per case."""

    about: Row
    rows: Sequence[Row]


def machine() -> Row:
    """The hardware and the versions that the figures depend on."""
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version(), **{k: v for k, v in versions.items() if v}},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write(path: Path, result: Result) -> None:
    """Writes a results file atomically, so that a run that is stopped leaves the previous file intact."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text("".join(json.dumps(row) + "\n" for row in (result.about, *result.rows)), encoding="utf-8")
    part.replace(path)


def read(path: Path) -> Result | None:
    """Reads a results file; `None` if there is no such file."""
    if not path.is_file():
        return None
    about, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return Result(about, rows)
