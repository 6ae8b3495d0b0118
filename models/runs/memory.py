"""How the C library deals with memory that a process has freed."""

import ctypes
import sys
from collections.abc import Sequence

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Numbers of glibc's ``mallopt`` (malloc.h)."""
NEVER = -1
LARGEST_BLOCKS = 1 << 30, 32 << 20
"""Bytes of the largest block that is kept, the first that glibc takes; before 2.35 it took at most 32 MiB."""

KEPT, LARGEST_KEPT = 256 << 20, 64 << 20
"""Bytes that a server keeps of what it has freed, and of the largest block among them."""


def keep_freed_memory() -> bool:
    """Lets this process keep the memory that it frees, for whatever asks next; for programs that compute and end.

    As a rule, glibc hands large blocks back to the system at once. A training asks for the same ones in its next
    step, and the system clears each of their pages again, which took a third of a small network's step on two cores.
    The price: a process that keeps what it frees stays as large as it has been.

    Returns:
        Whether there was a glibc to tell.
    """
    return _tell([(TRIM_THRESHOLD, [NEVER]), (MMAP_THRESHOLD, LARGEST_BLOCKS)])


def share_freed_memory() -> bool:
    """Lets the threads of this process keep some of the memory that they free, in common; for a server.

    Else what a network's layers use is handed back and cleared again layer by layer, and each thread that has ever
    computed keeps a heap of its own.

    Returns:
        Whether there was a glibc to tell.
    """
    return _tell([(TRIM_THRESHOLD, [KEPT]), (MMAP_THRESHOLD, [LARGEST_KEPT, LARGEST_BLOCKS[-1]]), (ARENA_MAX, [1])])


def _tell(options: Sequence[tuple[int, Sequence[int]]]) -> bool:
    """Gives glibc of each option the first value that it takes; whether there was one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:  # another C library
        return False
    return all(any(mallopt(option, value) for value in values) for option, values in options)
