"""Python's collector of reference cycles, tuned for a command."""

import functools
import gc


@functools.cache  # once per process: objects frozen again and again are never freed
def collect_less_often() -> None:
    """Makes the collector of reference cycles ignore imported objects, and run less often.

    Tracing and compiling make hundreds of thousands of small objects, nearly all of which are freed by reference
    counting. Meanwhile the collector, with Python's defaults, walks through all modules of JAX again and again: a sixth
    of the CPU time of a second run of `experiments/digits_ct.py`.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
