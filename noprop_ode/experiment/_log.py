import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import jax

from .. import __version__


class JsonLines:
    """Appends records to a file, one JSON object a line, and keeps them."""

    def __init__(self, path: Path):
        """**Arguments:** `path`, the file; created anew."""
        self.records: list[dict[str, Any]] = []
        self._file = open(path, "w", encoding="utf-8")

    def write(self, kind: str, **values: Any) -> None:
        """Adds a record.

        **Arguments:**

        - `kind`: what sort of record it is.
        - `values`: plain values.
        """
        record = {"kind": kind, **values}
        self.records.append(record)
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what it stands on."""
    names = ("jax", "jaxlib", "equinox", "diffrax", "optax", "jaxtyping", "beartype", "numpy")
    ours = {"python": platform.python_version(), "noprop_ode": __version__}
    return ours | {name: importlib.metadata.version(name) for name in names}


def device() -> dict[str, Any]:
    """The device that JAX computes on."""
    first = jax.devices()[0]
    return {"platform": first.platform, "kind": first.device_kind, "count": jax.device_count()}
