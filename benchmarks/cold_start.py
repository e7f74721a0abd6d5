"""Startup: the import, and a script until its first step and until its end, run twice."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._goals import Goal
from ._measure import Samples, Seconds, compared, rounded
from ._record import ROOT, Row
from ._text import digits, ratio, table


TITLE = "A cold start"
_BASE = "import jax, equinox, diffrax"
_IMPORTS = ("import noprop_ode", "import noprop_ode.experiment", "import noprop_ode.sklearn")
_TIMES = 5
_SCRIPT = ROOT / "experiments" / "digits_ct.py"


def measure(quick: bool) -> Iterator[Row]:
    """Yields a row per import, and one for the first and the second run of the script: medians of several."""
    yield from _imports(1 if quick else 7)
    if quick:
        return
    found: dict[str, list[Row]] = {"first": [], "second": []}
    for _ in range(_TIMES):
        with tempfile.TemporaryDirectory() as folder:
            # Our own caches, empty at first: the second run uses what the first one cached.
            for run, rows in found.items():
                rows.append(_script(Path(folder), run))
    for run, rows in found.items():
        medians = {name: rounded(float(np.median([row[name] for row in rows]))) for name in rows[0]}
        yield {"case": f"{_SCRIPT.name}, {run} run", "run": run, **medians}


def _imports(rounds: int) -> Iterator[Row]:
    sides: dict[str, list[tuple[Seconds, Seconds]]] = {code: [] for code in _IMPORTS}
    for i in range(rounds + 1):
        for code, found in sides.items():
            command = [sys.executable, "-c", _TIMED.format(base=_BASE, code=code)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT, env=_environment()).stdout
            if i > 0:  # the first round reads files that the system has not cached yet
                base, whole = (Seconds(*pair) for pair in json.loads(output))
                found.append((base, whole))
    for code, found in sides.items():
        base, whole = (list(each) for each in zip(*found))
        samples = {code: Samples(whole[0], whole), _BASE: Samples(base[0], base)}
        beyond = float(np.median([after.cpu - before.cpu for before, after in found]))
        yield {**compared(samples, code, _BASE), "beyond": rounded(beyond)}


# The import alone: what Python does at the end of a process is not part of it.
_TIMED = """
import json, time
wall, cpu = time.perf_counter(), time.process_time()
def since(): return time.perf_counter() - wall, time.process_time() - cpu
{base}
base = since()
{code}
print(json.dumps([base, since()]))
"""


def _wait(process: subprocess.Popen[Any], began: float) -> Seconds:
    """Waits until a process ends, and returns the time that it took."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Seconds(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)


def _environment() -> dict[str, str]:
    """The environment of a user who has set nothing: Python caches bytecode, and no other cache is configured."""
    ours = ("NOPROP_ODE_PROGRAMS", "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
    others = {k: v for k, v in os.environ.items() if k not in (*ours, "PYTHONDONTWRITEBYTECODE")}
    return {**others, "PYTHONPATH": str(ROOT)}


def _script(folder: Path, run: str) -> Row:
    """Runs the script from the command line, with default settings for its caches but in a separate folder."""
    environment = {**_environment(), "NOPROP_ODE_CACHE": str(folder / "cache")}
    out = folder / run
    command = [sys.executable, str(_SCRIPT), "--out", str(out)]
    began, first = time.perf_counter(), None
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=quiet, stderr=quiet) as process:
        while first is None and not _ended(process.pid):
            if _begun(out / "metrics.jsonl"):
                first = Seconds(time.perf_counter() - began, _processor_seconds(process.pid))
            time.sleep(0.01)
        whole = _wait(process, began)
    if process.returncode or first is None:
        raise RuntimeError(f"{' '.join(command)} failed with exit code {process.returncode}.")
    return {
        "first_step_cpu": rounded(first.cpu),
        "first_step_wall": rounded(first.wall),
        "cpu": rounded(whole.cpu),
        "wall": rounded(whole.wall),
    }


def _begun(metrics: Path) -> bool:
    """Whether a step has been recorded."""
    return metrics.is_file() and metrics.stat().st_size > 0


def _ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _processor_seconds(pid: int) -> float:
    """The CPU time that a running process has used, in seconds; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _runs(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if "run" in row]


def headline(rows: Sequence[Row]) -> str:
    """The answer in one line."""
    own = rows[0]
    told = f"`import noprop_ode` takes {own['beyond']:.2f} s more than the {own['cpu_against']:.2f} s of `{_BASE}`"
    for row in _runs(rows):
        told += f"; {row['case']}: first step after {digits(row['first_step_cpu'])} s"
    return told


def goals(rows: Sequence[Row]) -> list[Goal]:
    """A start in seconds, by the clock."""
    own = rows[0]
    checked = "mostly making the checks of arguments, then optax"
    found = [Goal(f"`{own['case']}`, beyond `{_BASE}`, CPU time", own["beyond"], 0.3, " s", held_back=checked)]
    if runs := _runs(rows):  # not in a smoke run
        first, second = runs
        start = "imports, tracing and the training itself"
        found += [
            Goal(f"{first['case']}, first step, wall clock", first["first_step_wall"], 8, " s"),
            Goal(f"{first['case']}, whole, wall clock", first["wall"], 15, " s", held_back="mostly compilation"),
            Goal(f"{second['case']}, whole, wall clock", second["wall"], 8, " s", held_back=start),
        ]
    return found


def section(rows: Sequence[Row]) -> str:
    """The section of the page."""
    cells = [
        (f"`{row['case']}`", ratio(row["ratio"]), f"{row['cpu']:.2f}", f"{row['beyond']:.2f}")
        for row in rows
        if "beyond" in row
    ]
    runs = [
        (
            row["case"],
            digits(row["first_step_cpu"]),
            digits(row["first_step_wall"]),
            digits(row["cpu"]),
            digits(row["wall"]),
        )
        for row in _runs(rows)
    ]
    heads = ["", "until the first step, s", "wall clock, s", "whole script, s", "wall clock, s"]
    return f"""Separate processes, in turn. Each imports the library's largest dependencies and then the package, whose
share includes optax, and for the classifier scikit-learn; most of the rest makes the checks of arguments. Beartype is
imported when the first function is called. The time that Python takes to end a process is not counted:

{table(["", f"times `{_BASE}`", "s", "additional s"], cells)}

`python experiments/digits_ct.py` from the command line, twice: for the first run nothing is cached, and the second run
uses what the first one cached; medians of {_TIMES} such pairs. Python caches the modules that it has parsed, as it does
by default. Compiling the evaluations in a thread beside the training was tried and gained nothing on two cores, which
tracing, the compiler and the training already fill.

{table(heads, runs)}"""


def figures(rows: Sequence[Row]) -> Mapping[str, Any]:
    """None: the tables say it all."""
    return {}
