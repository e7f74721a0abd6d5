"""Memory that every training step frees and requests again."""

import ctypes
import functools
import platform


# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_MUCH = 2**24  # bytes; for less, asking the system again for the pages would not pay


def keep_freed_memory() -> bool:
    """Makes this process keep the memory that it frees, to reuse it for later allocations.

    On CPU, XLA allocates the intermediate results of a training step afresh in every step. By default, glibc returns
    such large blocks to the system, so every page of the next one is faulted in and zeroed again: for the paper's
    convolutions at batch size 128, this can take half as long as the arithmetic itself.

    Call this before JAX's first computation, because each of the threads started there settles on its own arena. It
    works only with glibc; elsewhere it does nothing. The memory use of the process then stays at its peak.

    **Returns:** whether the allocator accepted the settings.
    """
    if not _glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 2**26))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)


def release_freed_memory(freed: int) -> None:
    """Returns what this process has freed to the system, even if it is to keep it: for memory that no later step needs.

    glibc does not give the place of a freed block to an aligned one of the same size, so that copying large arrays one
    after another takes the memory of all of them. Elsewhere this does nothing, nor where little was `freed`, in bytes.
    """
    if freed >= _MUCH and _glibc():
        ctypes.CDLL(None).malloc_trim(0)


@functools.cache
def _glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
