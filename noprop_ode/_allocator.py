"""Memory that is freed and asked for again in every step."""

import ctypes
import platform


# glibc's malloc.h: parameters of mallopt.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Makes this process keep the memory that it frees, for its next allocation of that size.

    XLA allocates the intermediate results of a training step on CPU anew in every step. By default glibc gives such
    large pieces back to the system, and every page of the next one is faulted in and zeroed again: for the paper's
    convolutions at batch 128 that can take as long as half of the arithmetic.

    Works only before JAX's first computation, as the threads that it starts each settle on an arena of their own, and
    only with glibc; elsewhere it does nothing. The memory of the process then stays at its peak.

    **Returns:** whether the allocator accepted.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 2**26))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
