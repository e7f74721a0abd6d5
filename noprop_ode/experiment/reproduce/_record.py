"""What a run found, as a record that is kept."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ... import RunError
from .._config import Config
from .._recipes import config_names, find_config
from .._saved import SUMMARY_FILE
from ._measure import DRAWS_FILE, EVALUATIONS_FILE
from ._queue import COSTS_FILE


Record = dict[str, Any]


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
    if (folder / EVALUATIONS_FILE).exists():
        found["evaluations"] = json.loads((folder / EVALUATIONS_FILE).read_text(encoding="utf-8"))
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
