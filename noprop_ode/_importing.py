"""What keeps the import of the package fast."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pauses Python's cyclic garbage collector. What an import creates stays alive, so there is nothing to collect; yet
    each full collection also walks all of JAX's objects, and together they take a quarter of the import time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
