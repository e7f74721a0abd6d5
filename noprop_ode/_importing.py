"""What makes the import of the package short."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Keeps Python's collector of cycles from running. What an import makes stays, so there is nothing to collect; but
    each of its full runs walks all objects of JAX too, and together they take a quarter of the import."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
