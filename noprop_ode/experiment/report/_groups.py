"""Which runs belong together, and how the others differ."""

from collections.abc import Mapping, Sequence
from typing import Any

from .._schema import leaves
from ._text import shortened


Settings = Mapping[str, Any]


def _flat(settings: Settings) -> dict[str, Any]:
    """Settings by their path; a component by its type, and its settings."""
    return {path.removesuffix(".type"): value for path, value in leaves(settings).items()}


def _telling(settings: Settings) -> dict[str, Any]:
    """The settings that a result depends on: neither names nor paths, nor what is evaluated at the end."""
    skipped = ("output", "name", "description", "data.dir", "prediction.protocols")
    return {k: v for k, v in _flat(settings).items() if not any(k == s or k.startswith(s + ".") for s in skipped)}


def group_runs(runs: Mapping[str, Settings]) -> dict[str, list[str]]:
    """The names of runs, grouped: those that differ only in their seed belong together.

    **Arguments:** settings as plain values, by the name of the run; empty if they are not known.

    **Returns:** the names of each group, by a label that says what differs: `variant=ct`.
    """
    told = {name: _telling(settings) for name, settings in runs.items()}
    groups: list[tuple[Any, set[Any], list[str]]] = []
    for name, settings in told.items():
        rest = {k: v for k, v in settings.items() if k != "training.seed"}
        seed = repr(settings.get("training.seed"))
        for known, seeds, names in groups:
            if settings and known == rest and seed not in seeds:
                seeds.add(seed)
                names.append(name)
                break
        else:
            groups.append((rest, {seed}, [name]))
    keys = sorted({k for rest, _, _ in groups for k in rest}, key=lambda k: (k not in _FIRST, k))
    differing = [k for k in keys if len({repr(rest.get(k, "")) for rest, _, _ in groups}) > 1]
    # If two components differ, their settings say nothing more.
    differing = [k for k in differing if not any(k.startswith(other + ".") for other in differing)]
    short = [k.rsplit(".", 1)[-1] for k in differing]
    labels: dict[str, list[str]] = {}
    for rest, seeds, names in groups:
        parts = [
            f"{s if short.count(s) == 1 else k}={shortened(rest[k], 20)}"
            for k, s in zip(differing, short)
            if rest.get(k) is not None
        ]
        label = ", ".join(parts[:4])
        if len(names) > 1:
            label = f"{label} (mean ± s.d. of {len(names)} seeds)" if label else f"mean ± s.d. of {len(names)} seeds"
        label = label or names[0]
        if label in labels:
            label += f" [{names[0]}]"
        labels[label] = names
    return labels


def name_of_run(settings: Settings, fallback: str) -> str:
    """A line about one run: its configuration, data, variant and seed."""
    known = _flat(settings)
    parts = [f"{word}{known[k]}" for k, word in _PARTS if known.get(k) is not None]
    return " · ".join([fallback, *parts])


def name_of_runs(settings: Sequence[Settings]) -> str:
    """A line about several runs: what they have in common, and how many they are."""
    known = [_flat(each) for each in settings]
    parts = [
        f"{word}{known[0][k]}"
        for k, word in _PARTS
        if known[0].get(k) is not None and all(each.get(k) == known[0][k] for each in known)
    ]
    return " · ".join([*parts, f"{len(known)} runs"])


_FIRST = ("data.name", "model.variant", "model.field")
_PARTS = (("data.name", ""), ("model.variant", ""), ("model.field", ""), ("training.seed", "seed "))
