"""What runs found, as records that are kept, and as the tables of a page."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import RunError
from .._config import Config
from .._recipes import config_names, find_config
from .._saved import SUMMARY_FILE
from ._queue import COSTS_FILE, DRAWS_FILE
from ._rows import PAPER, SETS, Row


Record = dict[str, Any]
_HOW = {"paper": "the paper's settings", "ours": "our recipe", "fast": "the fast network"}
_EMBEDDINGS = {"one-hot": "one-hot", "learned": "dim-20", "prototype": "prototype"}


def record(folder: Path) -> Record:
    """What the folder of a finished run says, in one object for a line of a file.

    **Raises:** [`noprop_ode.RunError`][] if it holds no finished run.
    """
    try:
        summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
        config = summary["config"]
        found = {
            "run": folder.name,
            "configuration": config["name"],
            "data": config["data"]["name"],
            "variant": config["model"]["variant"]["type"],
            "embedding": _EMBEDDINGS[config["model"]["embedding"]["type"]],
            "seed": config["training"]["seed"],
            "epochs": config["training"]["epochs"],
            "changes": _changes(config),
            "ways": {
                name: {k: way[k] for k in ("accuracy", "nll", "calibration_error", "nfe")}
                for name, way in summary["samplers"].items()
            },
            "validation_accuracy": summary["best_validation_accuracy"],
            "seconds": summary["train_seconds"],
            "device": summary["device"]["kind"],
            "jax": summary["versions"]["jax"],
        }
    except FileNotFoundError as error:
        raise RunError(f"{folder} holds no finished run: it has no {SUMMARY_FILE}.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder / SUMMARY_FILE} cannot be read: {type(error).__name__}: {error}.") from error
    if (folder / DRAWS_FILE).exists():
        found["draws"] = json.loads((folder / DRAWS_FILE).read_text(encoding="utf-8"))
    costs = folder.parent / COSTS_FILE
    lines = costs.read_text(encoding="utf-8").splitlines() if costs.exists() else []
    parts = [c for c in map(json.loads, lines) if c["run"] == folder.name and c["part"] == "training"]
    if parts:
        found["cpu_seconds"] = round(sum(c["cpu_seconds"] for c in parts), 1)
        found["gib"] = max(c["gib"] for c in parts)
    return found


def page(text: str, records: Sequence[Record]) -> str:
    """A page with its tables made anew, each between `<!-- table: NAME -->` and `<!-- end -->`: `overview` of what was
    run, and the `paper`'s table with what was run beside it."""
    tables: dict[str, Callable[[Sequence[Record]], str]] = {"overview": _overview, "paper": _paper}

    def replace(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n{tables[match[1]](records)}\n<!-- end -->"

    return re.sub(r"<!-- table: (overview|paper) -->\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


_FREE = ("training.epochs", "training.seed", "data.dir", "model.embedding.")


def _changes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in which a run differs from the recipe of its name, by path; not what the tables say anyway."""
    if config["name"] not in config_names():
        return {}
    recipe = Config.from_plain(find_config(config["name"])).to_plain()
    sections = ("data", "model", "optimiser", "training")
    own, its = (dict(_leaves({name: values[name] for name in sections})) for values in (config, recipe))
    return {k: v for k, v in own.items() if its.get(k) != v and not f"{k}.".startswith(_FREE)}


def _leaves(values: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if not isinstance(values, Mapping):
        yield path, values
        return
    for name, value in values.items():
        yield from _leaves(value, f"{path}.{name}" if path else name)


def _settings(found: Record) -> str:
    name = found["configuration"]
    return "paper" if name.startswith("paper/") else "fast" if "_fast_" in name else "ours"


def _groups(records: Iterable[Record]) -> Mapping[tuple[Any, ...], list[Record]]:
    """Runs that differ by their seed alone."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for found in records:
        row = Row(found["data"], found["variant"], found["embedding"])
        changes = ", ".join(f"`{k.split('.')[-1]}` {v}" for k, v in found["changes"].items())
        groups.setdefault((row, _settings(found), found["epochs"], changes), []).append(found)
    return groups


def _per_cent(values: Sequence[float]) -> str:
    """The mean in per cent, with the standard error of the mean where there are several."""
    mean = f"{100 * np.mean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * np.std(values, ddof=1) / np.sqrt(len(values)):.2f}"


def _by_paper(found: Record) -> float:
    """Accuracy by the paper's way of predicting, the mean of the draws."""
    draws = [draw["accuracy"] for draw in found.get("draws", [])]
    return float(np.mean(draws)) if draws else found["ways"].get("paper", found["ways"]["default"])["accuracy"]


def _overview(records: Sequence[Record]) -> str:
    lines = [
        "| data | | epochs | seeds | default way | paper's way | paper | supervised twin | minutes (CPU) | GiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups = _groups(records)
    order = {data: i for i, data in enumerate(SETS)}
    by_data = sorted(groups.items(), key=lambda group: (order.get(group[0][0].data, len(SETS)), group[0]))
    for (row, settings, epochs, changes), runs in by_data:
        twin = groups.get((Row(row.data, "supervised", "one-hot"), settings, epochs, changes), [])
        cpu, gib = ([r[k] for r in runs if k in r] for k in ("cpu_seconds", "gib"))
        cells = [
            SETS.get(row.data, row.data),
            f"{row.variant.upper()}, {row.embedding}, {_HOW[settings]}" + (f", {changes}" if changes else ""),
            str(epochs),
            str(len(runs)),
            _per_cent([r["ways"]["default"]["accuracy"] for r in runs]),
            _per_cent([_by_paper(r) for r in runs]),
            f"{PAPER[row]:.2f}" if row in PAPER else "",
            _per_cent([r["ways"]["default"]["accuracy"] for r in twin]) if twin and twin is not runs else "",
            f"{np.mean([r['seconds'] for r in runs]) / 60:.0f}" + (f" ({np.mean(cpu) / 60:.0f})" if cpu else ""),
            f"{max(gib):.1f}" if gib else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _paper(records: Sequence[Record]) -> str:
    lines = [f"| | {' | '.join(SETS.values())} |", "|---" * (1 + len(SETS)) + "|"]
    groups = _groups(records)
    for variant, embedding in dict.fromkeys((row.variant, row.embedding) for row in PAPER):
        cells = []
        for data in SETS:
            row = Row(data, variant, embedding)
            found = [
                f"{_per_cent([_by_paper(r) for r in runs])} ({epochs} epochs, {len(runs)} seeds)".replace(
                    "1 seeds", "1 seed"
                )
                for (own, settings, epochs, _), runs in sorted(groups.items())
                if own == row and settings == "paper"
            ]
            cells.append(f"{PAPER[row]:.2f}; {', '.join(found) or 'not run'}")
        lines.append(f"| {variant.upper() if len(variant) == 2 else variant}, {embedding} | {' | '.join(cells)} |")
    return "\n".join(lines)
