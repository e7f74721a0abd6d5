"""Python's collector of reference cycles, told what a command is."""

import functools
import gc


@functools.cache  # once a process: what is frozen again and again is never freed
def collect_less_often() -> None:
    """Keeps the collector of reference cycles off what was imported, and makes it look less often.

    Tracing and compiling make hundreds of thousands of small objects, nearly all of which reference counts free. The
    collector, as Python sets it, walks through all modules of JAX again and again meanwhile: a sixth of the
    processor time of a second run of `experiments/digits_ct.py`.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
