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
_NAMES = {
    "ct": "CT",
    "dt": "DT",
    "fm": "FM",
    "backprop": "back-propagation",
    "adjoint": "adjoint",
    "supervised": "supervised",
}


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
            "embedding": _embedding(config["model"]["embedding"]),
            "seed": config["training"]["seed"],
            "epochs": config["training"]["epochs"],
            "changes": _changes(config),
            "protocol": config["prediction"]["protocol"],
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
        # Of a session that was killed nothing is known, and the rest would pass for the whole.
        if sum(c["seconds"] for c in parts) > 0.95 * found["seconds"]:
            found["cpu_seconds"] = round(sum(c["cpu_seconds"] for c in parts), 1)
        found["gib"] = max(c["gib"] for c in parts)
    return found


def identity(found: Record) -> str:
    """Equal for runs that are the same but for where and when they ran."""
    return json.dumps([found[name] for name in ("configuration", "changes", "epochs", "seed", "embedding")])


def page(text: str, records: Sequence[Record]) -> str:
    """A page with its tables made anew, each between `<!-- table: NAME -->` and `<!-- end -->`: `overview` of what was
    run, and the `paper`'s table with what was run beside it."""
    tables: dict[str, Callable[[Sequence[Record]], str]] = {"overview": _overview, "paper": _paper}

    def replace(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n{tables[match[1]](records)}\n<!-- end -->"

    return re.sub(r"<!-- table: (overview|paper) -->\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


def _embedding(settings: Mapping[str, Any]) -> str:
    return f"dim-{settings['dim']}" if "dim" in settings else settings["type"]


# What the tables say anyway, or what changes no figure in them.
_FREE = (
    "training.epochs.",
    "training.seed.",
    "data.dir.",
    "data.stream.",
    "data.workers.",
    "model.embedding.",
    "prediction.protocols.",
)


def _changes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in which a run differs from the recipe of its name, by path; not what the tables say anyway."""
    if config["name"] not in config_names():
        return {}
    recipe = Config.from_plain(find_config(config["name"])).to_plain()
    sections = ("data", "model", "optimiser", "training", "prediction")
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


def _per_cent(values: Sequence[float | None]) -> str:
    """The mean in per cent, of several with its standard error; nothing if one is not known."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ""
    mean = f"{100 * np.mean(known):.2f}"
    return mean if len(known) < 2 else f"{mean} ± {100 * np.std(known, ddof=1) / np.sqrt(len(known)):.2f}"


def _by_default(found: Record) -> float | None:
    """Accuracy by the model's own way; the settings of the paper ask for the paper's instead."""
    return found["ways"]["default"]["accuracy"] if found["protocol"] == "default" else None


def _by_paper(found: Record) -> float | None:
    """Accuracy by the paper's way of predicting, the mean of the draws."""
    if draws := [draw["accuracy"] for draw in found.get("draws", [])]:
        return float(np.mean(draws))
    name = "default" if found["protocol"] == "paper" else "paper"
    return found["ways"][name]["accuracy"] if name in found["ways"] else None


def _name(variant: str) -> str:
    return _NAMES.get(variant, variant)


def _listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _count(n: int, of: str) -> str:
    return f"{n} {of}" + ("" if n == 1 else "s")


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
            _listed(_name(row.variant), row.embedding, _HOW[settings], changes),
            str(epochs),
            str(len(runs)),
            _per_cent([_by_default(r) for r in runs]),
            _per_cent([_by_paper(r) for r in runs]),
            f"{PAPER[row]:.2f}" if row in PAPER else "",
            _per_cent([_by_default(r) for r in twin]) if twin and twin is not runs else "",
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
                f"{_per_cent([_by_paper(r) for r in runs])} "
                f"({_listed(_count(epochs, 'epoch'), _count(len(runs), 'seed'), changes)})"
                for (own, settings, epochs, changes), runs in sorted(groups.items())
                if own == row and settings == "paper"
            ]
            cells.append(f"{PAPER[row]:.2f}; {', '.join(found) or 'not run'}")
        lines.append(f"| {_name(variant)}, {embedding} | {' | '.join(cells)} |")
    return "\n".join(lines)
