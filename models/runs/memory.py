"""How the C library deals with memory that a process has freed."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's ``mallopt`` (malloc.h)."""
NEVER = -1
LARGEST_BLOCKS = 1 << 30, 32 << 20
"""Bytes of the largest block that is kept, the first that glibc takes; before 2.35 it took at most 32 MiB."""


def keep_freed_memory() -> bool:
    """Lets this process keep the memory that it frees, for whatever asks next; for programs that compute and end.

    As a rule, glibc hands large blocks back to the system at once. A training asks for the same ones in its next
    step, and the system clears each of their pages again, which took a third of a small network's step on two cores.
    The price: a process that keeps what it frees stays as large as it has been.

    Returns:
        Whether there was a glibc to tell.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:  # another C library
        return False
    return bool(mallopt(TRIM_THRESHOLD, NEVER)) and any(mallopt(MMAP_THRESHOLD, size) for size in LARGEST_BLOCKS)
