"""How well each prediction of one run classifies: a table for each run that the page names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .._errors import ConfigError
from ._record import Record, changes
from ._words import count, fraction


_VIEWS = {"mirrored": "the default, mirrored", "shifted": "the default, mirrored and shifted"}
_SAMPLERS = {"ddim": "DDIM", "ancestral": "ancestral", "euler": "Euler", "heun": "Heun"}
_OWN = {"default": "the default", "tsit5": "Tsit5 with adaptive steps", "paper": "the paper's protocol"}
_WAY = re.compile(r"(?P<start>mean|noise) (?P<sampler>[a-z0-9]+)(-(?P<steps>\d+))?( x(?P<draws>\d+))?")


def predictions_table(records: Sequence[Record], which: str) -> str:
    """A row per prediction, the most accurate first: test accuracy, negative log-likelihood in nats, and evaluations
    per image.

    **Arguments:** the records; and which of them, as `CONFIGURATION EPOCHS SETTING=VALUE ...`, with the settings in
    which the runs differ from the recipe. Several seeds are averaged.

    **Raises:** `ConfigError` if there is no such run.
    """
    name, *rest = which.split()
    epochs, *settings = rest or [""]
    if not epochs or not all("=" in text for text in settings):
        raise ConfigError(
            f"The page has a table of predictions {which}; expected predictions CONFIGURATION EPOCHS SETTING=VALUE ..."
        )
    wanted = dict(text.lower().split("=", 1) for text in settings)  # true as YAML writes it, or True
    runs = [
        found
        for found in records
        if found["configuration"] == name
        and str(found["epochs"]) == epochs
        and {path: str(value).lower() for path, value in changes(found).items()} == wanted
    ]
    if not runs:
        raise ConfigError(f"The page names predictions of {which}, but no record is of such a run.")
    ways = _merged(_ways(found) for found in runs)
    lines = ["| prediction | test accuracy | NLL | evaluations |", "|---|---:|---:|---:|"]
    for said, values in sorted(ways.items(), key=lambda way: -np.mean([v["accuracy"] for v in way[1]])):
        nll, evaluations = (float(np.mean([v[key] for v in values])) for key in ("nll", "nfe"))
        lines.append(
            f"| {said} | {fraction([v['accuracy'] for v in values])} | {_three_digits(nll)} | {evaluations:.0f} |"
        )
    return "\n".join(lines)


def _merged(runs: Iterable[Mapping[str, Sequence[Any]]]) -> dict[str, list[Any]]:
    """The values of all runs by prediction, of those predictions that all runs have."""
    every = list(runs)
    return {said: [value for run in every for value in run[said]] for said in every[0] if all(said in r for r in every)}


def _ways(found: Record) -> dict[str, list[Mapping[str, Any]]]:
    """Results of a run by what the table calls the prediction."""
    default = found["ways"]["default"]
    others = {_said(name): [way] for name, way in found["ways"].items() if name != "default" and way != default}
    ways = {_OWN["default" if found["protocol"] == "default" else "paper"]: [default], **others}
    ways |= {said: [found[name]["test"]] for name, said in _VIEWS.items() if name in found}
    if draws := found.get("draws"):
        ways[f"{_OWN['paper']}, {count(len(draws), 'more draw')} of noise"] = draws
    return ways


def _said(name: str) -> str:
    """A prediction in words: `noise ddim-10 x16` is 16 draws of 10 DDIM steps."""
    match = _WAY.fullmatch(name)
    if not match:
        return _OWN.get(name, f"`{name}`")
    sampler = match["sampler"]
    steps = f"{count(int(match['steps']), f'{_SAMPLERS.get(sampler, sampler)} step')}" if match["steps"] else None
    how = steps or _OWN.get(sampler, sampler)
    if match["draws"]:
        return f"{match['draws']} draws of {how}"
    return f"{how} from {'the mean of the noise' if match['start'] == 'mean' else 'noise'}"


def _three_digits(value: float) -> str:
    return f"{value:#.3g}".removesuffix(".")
