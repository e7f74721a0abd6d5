"""Runs one after another, each in its own process, which continue where they were stopped."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ... import RunFolder
from ..._training.signals import interruption
from .._saved import CONFIG_FILE, finished_epochs
from ._job import Job
from ._measure import DRAWS_FILE, EVALUATIONS_FILE, VIEWS_FILE, draws_classes, measured


COSTS_FILE = "costs.jsonl"
_MEASURE = """import sys
from noprop_ode.experiment._main import guarded
from noprop_ode.experiment.reproduce import {0} as measure
guarded(lambda: measure(*sys.argv[1:]))"""
_SIGNALS = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
_INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


def work(queue: Sequence[Job], *, draws: int, hours: float | None, say: Callable[[str], Any] = print) -> int:
    """Runs what is not finished yet. A run that fails does not keep the others from running.

    **Arguments:**

    - `queue`: the runs.
    - `draws`: draws of noise for the paper's protocol, each a separate evaluation.
    - `hours`: stop after this time; the current run is saved, and the next call resumes it.
    - `say`: called with progress messages.

    **Returns:** how many runs failed.

    **Raises:** [`noprop_ode.Interrupted`][] after a signal, once the current run is saved; `ConfigError` for a folder
    that holds a run with other settings; [`noprop_ode.RunError`][] for a folder that another process is writing to: two
    runs side by side would take twice as long.
    """
    for job in queue:
        job.check()
        if not job.finished and (job.folder / CONFIG_FILE).exists():
            RunFolder(job.folder).close()  # refused while another process, of a queue that was killed, trains here
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
            _note(job, {"run": name, "part": part, "begins": "on" if (job.folder / CONFIG_FILE).exists() else "anew"})
            cost, received = _run(arguments, end)
            _note(job, {"run": name, "part": part, **cost})
            if cost["exit"] in _INTERRUPTED or received:
                say(f"{name}: stopped after {cost['seconds']:.0f} s; the same command resumes it")
                if received:
                    raise interruption(received)
                return failed
            if cost["exit"] != 0:
                say(f"{name}: {part} failed with exit code {cost['exit']}; the others continue")
                failed += 1
                break
            say(f"{name}: {part} took {cost['seconds']:.0f} s, {cost['cpu_seconds']:.0f} s of CPU time")
    return failed


def _note(job: Job, line: dict[str, Any]) -> None:
    with open(job.folder.parent / COSTS_FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _training(job: Job, draws: int) -> list[str]:
    del draws
    return [] if job.finished else job.command


def _drawing(job: Job, draws: int) -> list[str]:
    if job.row.variant == "supervised":
        return []  # it draws no noise
    found = measured(job.folder, DRAWS_FILE, finished_epochs(job.folder))
    if found is not None and len(found["draws"]) >= draws and ("once" in found or not draws_classes(job.row.variant)):
        return []
    return _measuring("measure_draws", job, str(draws))


def _evaluating(job: Job, draws: int) -> list[str]:
    del draws
    found = measured(job.folder, EVALUATIONS_FILE, finished_epochs(job.folder))
    return _measuring("measure_evaluations", job) if found is None else []


def _viewing(job: Job, draws: int) -> list[str]:
    del draws
    if not job.config.data.augmentation.settings.get("flip"):
        return []  # the network was not trained on mirror images
    found = measured(job.folder, VIEWS_FILE, finished_epochs(job.folder))
    return _measuring("measure_views", job) if found is None else []


def _measuring(function: str, job: Job, *arguments: str) -> list[str]:
    trust = ["trusted"] if job.trusted else []
    own = [*arguments, os.path.abspath(os.path.expanduser(job.data_dir)) if job.data_dir else ""]
    return [sys.executable, "-c", _MEASURE.format(function), str(job.folder), *own, *trust]


# The command that each part of a run still needs; nothing if it is done.
_PARTS: dict[str, Callable[[Job, int], list[str]]] = {
    "training": _training,
    "draws": _drawing,
    "evaluations": _evaluating,
    "views": _viewing,
}


def _run(arguments: list[str], end: float | None) -> tuple[dict[str, Any], int]:
    """Runs a process until it ends or the time is up. Returns its cost, and the number of the first signal that we
    received and passed on to it; 0 without one. The third kills it: it may be stuck."""
    began, told, received = time.monotonic(), 0, list[int]()
    process: subprocess.Popen[bytes] | None = None

    def tell() -> None:
        nonlocal told
        if process is not None:
            told += 1
            # There until it is waited for; Popen's own would wait for it.
            os.kill(process.pid, signal.SIGTERM if told < 3 else signal.SIGKILL)

    def note(number: int, frame: Any) -> None:
        del frame
        received.append(number)
        tell()

    with _handled(note):
        process = subprocess.Popen(arguments, start_new_session=True)  # the terminal's signals reach it through us
        while not (waited := os.wait4(process.pid, os.WNOHANG))[0]:
            if not told and (received or (end is not None and time.monotonic() >= end)):
                tell()
            time.sleep(0.1)
        process.returncode = code = os.waitstatus_to_exitcode(waited[1])
    _, _, usage = waited
    cost = {
        "exit": 128 - code if code < 0 else code,
        "seconds": round(time.monotonic() - began, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "gib": round(usage.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20), 2),
    }
    return cost, received[0] if received else 0


def _hung_up(number: int) -> bool:
    """Whether it is the signal that `nohup` makes us ignore. A background job of a script ignores SIGINT too, but is
    sent it on purpose."""
    return signal.Signals(number).name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN


@contextlib.contextmanager
def _handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _SIGNALS if not _hung_up(number)}
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, own)
