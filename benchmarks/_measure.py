"""Measuring: two sides that do comparable work alternate in one process, and their ratio is taken round by round."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np


class Seconds(NamedTuple):
    """Wall-clock time, and CPU time summed over cores: other programs on the machine disturb the latter less."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Samples:
    """One side: the seconds of its first call, which compiles, and of one call in each round."""

    first: Seconds
    rounds: list[Seconds]

    def median(self) -> Seconds:
        """The median call."""
        return Seconds(*(float(np.median(values)) for values in zip(*self.rounds)))

    def compilation(self) -> Seconds:
        """The time of the first call minus that of a median one: tracing and compilation."""
        median = self.median()
        return Seconds(max(self.first.wall - median.wall, 0.0), max(self.first.cpu - median.cpu, 0.0))


def timed(call: Callable[[], Any], repeats: int = 1) -> Seconds:
    """The mean time of one of several calls, each until its result is ready."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        jax.block_until_ready(call())
    return Seconds((time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats)


def alternating(sides: Mapping[str, Callable[[], Any]], *, rounds: int, least: float = 0.2) -> dict[str, Samples]:
    """Calls all sides once per round, in turn, so that a machine that slows down affects all of them.

    **Arguments:**

    - `sides`: the functions to measure, by name; a call does one unit of work.
    - `rounds`: the number of rounds, after one call that compiles and one that warms up.
    - `least`: the minimum CPU time of a side per round, in seconds; shorter calls are repeated.

    **Returns:** the samples of each side.
    """
    first = {name: timed(call) for name, call in sides.items()}
    warm = {name: timed(call).cpu for name, call in sides.items()}
    repeats = {name: max(1, math.ceil(least / max(cpu, 1e-6))) for name, cpu in warm.items()}
    found: dict[str, list[Seconds]] = {name: [] for name in sides}
    names = list(sides)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:  # no side always comes first
            found[name].append(timed(sides[name], repeats[name]))
    return {name: Samples(first[name], found[name]) for name in sides}


def compared(samples: Mapping[str, Samples], case: str, against: str, *, times: int = 1) -> dict[str, Any]:
    """One side against another, as plain values for the results file.

    **Arguments:**

    - `samples`: from `alternating`.
    - `case`, `against`: the sides.
    - `times`: the number of calls of the other side that do the work of one call of this side.

    **Returns:** quartiles of the ratios of CPU time and of wall-clock time, and the medians and compilation times of
    both.
    """
    own, other = samples[case], samples[against]
    return {
        "case": case,
        "against": f"{times} x {against}" if times > 1 else against,
        "ratio": quartiles([a.cpu / (times * b.cpu) for a, b in zip(own.rounds, other.rounds)]),
        "ratio_wall": quartiles([a.wall / (times * b.wall) for a, b in zip(own.rounds, other.rounds)]),
        **measured(own),
        "cpu_against": rounded(times * other.median().cpu),
        "wall_against": rounded(times * other.median().wall),
        "compile_cpu_against": rounded(other.compilation().cpu),
    }


def measured(samples: Samples) -> dict[str, Any]:
    """One side alone, as plain values: the median time of a call, and its compilation time, in seconds."""
    median, compilation = samples.median(), samples.compilation()
    return {
        "cpu": rounded(median.cpu),
        "wall": rounded(median.wall),
        "compile_cpu": rounded(compilation.cpu),
        "compile_wall": rounded(compilation.wall),
        "rounds": len(samples.rounds),
    }


def quartiles(values: list[float]) -> list[float]:
    """The lower quartile, the median and the upper quartile."""
    return [rounded(q) for q in np.quantile(values, (0.25, 0.5, 0.75))]


def rounded(value: float) -> float:
    """Rounds to four digits: more would be noise."""
    return float(f"{value:.4g}")
