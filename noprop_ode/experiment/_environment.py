"""What a run records about where it ran."""

import importlib.metadata
import json
import platform
from typing import Any

import jax

from .. import RunFolder, __version__


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of its dependencies."""
    names = ("jax", "jaxlib", "equinox", "diffrax", "optax", "jaxtyping", "beartype", "numpy")
    ours = {"python": platform.python_version(), "noprop_ode": __version__}
    return ours | {name: importlib.metadata.version(name) for name in names}


def device() -> dict[str, Any]:
    """The device that JAX computes on."""
    first = jax.devices()[0]
    return {"platform": first.platform, "kind": first.device_kind, "count": jax.device_count()}


def write_json(folder: RunFolder, name: str, values: Any) -> None:
    """Writes plain values as a JSON file into the folder of a run, atomically."""
    folder.write(name, (json.dumps(values, indent=2) + "\n").encode())
