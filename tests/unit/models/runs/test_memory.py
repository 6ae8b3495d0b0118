"""Freed memory stays with the process: a second use of it makes the system find no new pages."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from models.runs import memory
from models.runs.memory import keep_freed_memory, share_freed_memory

ROOT = Path(__file__).parents[4]
FAULTS = """
import ctypes, resource
{before}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.prctl(41, 1, 0, 0, 0)  # pages of 4 KiB, and not of 2 MiB, wherever the system would choose those
libc.free.argtypes, libc.memset.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def step(size=8 << 20, count=8):
    blocks = [libc.malloc(size) for _ in range(count)]
    for block in blocks:
        libc.memset(block, 1, size)
    for block in blocks:
        libc.free(block)

step(), step()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)
"""
is_glibc = hasattr(ctypes.CDLL(None), "mallopt") if sys.platform == "linux" else False


def _count_page_faults(before: str) -> int:
    """Of writing 64 MiB for the third time, freed in between, in a process of its own."""
    command = [sys.executable, "-c", FAULTS.format(before=before)]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not is_glibc, reason="another C library than glibc")
def test_kept_memory_costs_no_page_faults():
    assert _count_page_faults("") > 10_000  # 64 MiB are 16,384 pages
    for function in ("keep_freed_memory", "share_freed_memory"):
        assert _count_page_faults(f"from models.runs.memory import {function}; assert {function}()") < 100


@pytest.mark.skipif(not is_glibc, reason="another C library than glibc")
def test_an_older_glibc_takes_the_smaller_limit(monkeypatch):
    asked = []

    class Library:
        def mallopt(self, parameter, value):
            asked.append((parameter, value))
            return int(value <= 32 << 20)

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: Library())
    assert keep_freed_memory()
    assert asked == [(-1, -1), (-3, 1 << 30), (-3, 32 << 20)]


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_other_c_libraries_are_left_alone(monkeypatch, platform):
    monkeypatch.setattr(memory.sys, "platform", platform)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not keep_freed_memory() and not share_freed_memory()
