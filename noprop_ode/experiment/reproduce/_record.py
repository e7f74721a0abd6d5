"""The results of a run, as a record to keep."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import RunError
from .._config import Config
from .._recipes import config_names, find_config
from .._run_folder import SECTIONS
from .._saved import SUMMARY_FILE
from .._schema import leaves
from ._measure import DRAWS_FILE, EVALUATIONS_FILE, VIEWS_FILE, measured
from ._queue import COSTS_FILE


Record = dict[str, Any]


def record(folder: Path) -> Record:
    """The results in the folder of a finished run, as one object for a line of a file.

    **Raises:** [`noprop_ode.RunError`][] if it holds no finished run.
    """
    try:
        summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
        config = summary["config"]
        found = {
            "run": folder.name,
            "configuration": config["name"],
            "data": name if isinstance(name := config["data"]["name"], str) else name["type"],
            "variant": config["model"]["variant"]["type"],
            "embedding": _embedding(config["model"]["embedding"]),
            "seed": config["training"]["seed"],
            "epochs": config["training"]["epochs"],
            "settings": _settings(config),
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
    if draws := measured(folder, DRAWS_FILE, found["epochs"]):
        found |= {name: draws[name] for name in ("draws", "once") if name in draws}
    if evaluations := measured(folder, EVALUATIONS_FILE, found["epochs"]):
        found["evaluations"] = evaluations
    if views := measured(folder, VIEWS_FILE, found["epochs"]):
        found |= {name: views[name] for name in ("mirrored", "shifted")}
    return {**found, **_costs(folder, summary.get("wall_seconds", 0.0))}


def _costs(folder: Path, wall_seconds: float) -> dict[str, float]:
    """The CPU time of training a run, if all of its sessions are known with their ends, and its peak memory."""
    begun, ended, whole = 0, [], False
    try:
        lines = (folder.parent / COSTS_FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut off
            session = json.loads(line)
            if session["run"] != folder.name or session["part"] != "training":
                continue
            if session.get("begins") == "anew":  # the lines before are of another run
                begun, ended, whole = 0, [], True
            if "begins" in session:
                begun += 1
            else:
                ended.append(session)
    found = {"gib": max(session["gib"] for session in ended)} if ended else {}
    # A session that was run by hand is not among them.
    whole = whole and sum(session.get("seconds", 0.0) for session in ended) >= 0.99 * wall_seconds
    if ended and begun == len(ended) and whole:
        found["cpu_seconds"] = round(sum(session["cpu_seconds"] for session in ended), 1)
    return found


def identity(found: Record) -> str:
    """Equal for runs that differ only in where and when they ran."""
    # By what differs from the recipe: a record that is older than a setting has its default.
    names = ("configuration", "data", "variant", "embedding", "epochs", "seed")
    own = own_settings(found)
    return json.dumps([changes(found), *([own] if own else []), *(found[name] for name in names)], sort_keys=True)


def own_settings(found: Record) -> dict[str, Any]:
    """All settings of a run whose configuration is not from this package, so that its name says nothing."""
    if found["configuration"] in config_names():
        return {}
    # A run that is older than a setting has its default.
    return {**_settings(Config().to_plain()), **found["settings"]}


def changes(found: Record) -> dict[str, Any]:
    """The settings in which a run differs from the current recipe of its name, by path; none if the name is not that of
    a recipe."""
    if found["configuration"] not in config_names():
        return {}
    recipe = find_config(found["configuration"])
    own, its = found["settings"], _settings(Config.from_plain(recipe).to_plain())

    def of_another_part(name: str) -> bool:
        kind = f"{name.rpartition('.')[0]}.type"
        return name not in own and own.get(kind) != its.get(kind)

    # A run that is older than a setting has its default, not what the recipe says now.
    said = leaves({name: values for name, values in recipe.items() if name in SECTIONS})
    before = {
        name: own.get(name, None if name in said else value) for name, value in its.items() if not of_another_part(name)
    }
    return {k: v for k, v in {**before, **own}.items() if its.get(k) != v}


def _embedding(settings: Mapping[str, Any]) -> str:
    return f"dim-{settings['dim']}" if "dim" in settings else settings["type"]


# Settings that the tables show anyway, or that change no figure in them.
_FREE = (
    "training.epochs.",
    "training.seed.",
    "data.dir.",
    "data.stream.",
    "data.workers.",
    "model.embedding.type.",
    "model.embedding.dim.",
    "prediction.protocols.",
)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """All settings by path that may change a figure."""
    every = leaves({name: config[name] for name in SECTIONS})
    return {name: value for name, value in every.items() if not f"{name}.".startswith(_FREE)}
