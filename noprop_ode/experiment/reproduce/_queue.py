"""Runs one after the other, each a process of its own, that go on where they were stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._saved import CONFIG_FILE, SUMMARY_FILE
from ._measure import DRAWS_FILE, EVALUATIONS_FILE
from ._rows import Row


COSTS_FILE = "costs.jsonl"
_COMMAND = [sys.executable, "-c", "from noprop_ode.experiment import console; console()", "train"]
_MEASURE = "import sys; from noprop_ode.experiment.reproduce import {0}; {0}(*sys.argv[1:])"
_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


class Job(NamedTuple):
    """A run: a row with settings and a seed, overrides such as `["--epochs", "3"]`, and the folder it is in."""

    row: Row
    settings: str
    seed: int
    overrides: tuple[str, ...]
    folder: Path

    @property
    def command(self) -> list[str]:
        """What begins the run, or goes on with it."""
        if (self.folder / CONFIG_FILE).exists():
            return [*_COMMAND, "--resume", str(self.folder)]
        arguments = [*self.row.arguments(self.settings), *self.overrides, "--training.seed", str(self.seed)]
        return [*_COMMAND, *arguments, "--output.dir", str(self.folder)]

    @property
    def finished(self) -> bool:
        """Whether it is trained and evaluated."""
        return (self.folder / SUMMARY_FILE).exists()


def jobs(rows: Iterable[Row], settings: str, seeds: Sequence[int], overrides: Sequence[str], out: Path) -> list[Job]:
    """The runs of some rows, all rows with the first seed before any with the second.

    **Arguments:** the rows, `paper`, `ours` or `fast`, the seeds, settings that override, and the folder of all runs.
    """
    return [
        Job(row, settings, seed, tuple(overrides), out / "-".join((settings, *row, f"seed{seed}")))
        for seed in seeds
        for row in rows
    ]


def work(queue: Sequence[Job], *, draws: int, hours: float | None, say: Callable[[str], Any] = print) -> int:
    """Runs what is not finished yet. A run that fails does not keep the others from running.

    **Arguments:**

    - `queue`: the runs.
    - `draws`: draws of noise of the paper's way of predicting, each an evaluation of its own.
    - `hours`: stop after so long; the run at hand is saved, and the next call goes on with it.
    - `say`: is told what happens.

    **Returns:** how many runs failed.
    """
    end, failed = None if hours is None else time.monotonic() + 3600 * hours, 0
    for job in queue:
        name = job.folder.name
        for part, command in _PARTS.items():
            if not (arguments := command(job, draws)):
                continue
            if end is not None and time.monotonic() >= end:
                say(f"{name}: left for another time")
                return failed
            say(f"{name}: {part} ...")
            cost = _run(arguments, end)
            with open(job.folder.parent / COSTS_FILE, "a", encoding="utf-8") as file:
                file.write(json.dumps({"run": name, "part": part, **cost}) + "\n")
            if cost["exit"] in _INTERRUPTED:
                say(f"{name}: stopped after {cost['seconds']:.0f} s; the same command goes on with it")
                return failed
            if cost["exit"] != 0:
                say(f"{name}: {part} failed with exit code {cost['exit']}; the others go on")
                failed += 1
                break
            say(f"{name}: {part} took {cost['seconds']:.0f} s, {cost['cpu_seconds']:.0f} s of the processor")
    return failed


def _training(job: Job, draws: int) -> list[str]:
    del draws
    return [] if job.finished else job.command


def _drawing(job: Job, draws: int) -> list[str]:
    file = job.folder / DRAWS_FILE
    known = len(json.loads(file.read_text())) if file.exists() else 0
    return _measuring("measure_draws", job, str(draws)) if known < draws else []


def _evaluating(job: Job, draws: int) -> list[str]:
    del draws
    return [] if (job.folder / EVALUATIONS_FILE).exists() else _measuring("measure_evaluations", job)


def _measuring(function: str, job: Job, *arguments: str) -> list[str]:
    return [sys.executable, "-c", _MEASURE.format(function), str(job.folder), *arguments]


# What each part of a run still needs: a command, and nothing where it is done.
_PARTS: dict[str, Callable[[Job, int], list[str]]] = {
    "training": _training,
    "draws": _drawing,
    "evaluations": _evaluating,
}


def _run(arguments: list[str], end: float | None) -> dict[str, Any]:
    """A process to its end, or to that of the time; what it cost. A signal of ours is passed on."""
    began, told = time.monotonic(), False
    process = subprocess.Popen(arguments, start_new_session=True)  # the terminal's signals reach it through us

    def tell(*_: Any) -> None:
        nonlocal told
        if not told:
            process.send_signal(signal.SIGTERM)
        told = True

    before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while not (waited := os.wait4(process.pid, os.WNOHANG))[0]:
            if end is not None and time.monotonic() >= end:
                tell()
            time.sleep(0.1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    _, status, usage = waited
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    return {
        "exit": 128 - code if code < 0 else code,
        "seconds": round(time.monotonic() - began, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "gib": round(usage.ru_maxrss / 2**20, 2),
    }
