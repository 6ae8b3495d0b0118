"""The files that gradio keeps of what comes in and goes out: within a budget, oldest first."""

import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import gradio as gr

MAX_BYTES = 2 * 2**30
MAX_FILES = 50_000
YOUNG_SECONDS = 120.0
"""A file that is younger may be on its way to a screen, or still be written."""


def sweep_page(page: gr.Blocks, folder: Path) -> int:
    """As :func:`sweep`, of a page's files; what it shows from its beginning on stays, and uploads go last."""
    kept = {str(path) for block in page.blocks.values() for path in getattr(block, "keep_in_cache", ())}
    gone = sweep(folder, kept, page.upload_file_set)
    for paths in page.temp_file_sets:  # gradio would never forget the names
        paths.difference_update(gone)
    return len(gone)


def sweep(
    folder: Path,
    kept: Collection[str] = (),
    last: Collection[str] = (),
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
) -> list[str]:
    """Removes the oldest files until the others are within the budget; gives their paths.

    Args:
        folder: All files below it count.
        kept: Paths of files that stay.
        last: Paths of files that go after all others.
        max_bytes: The sum of the files' sizes.
        max_files: Their number.
    """
    found = sorted(_list_files(folder), key=lambda file: (file[0] in last, file[2]))
    num_bytes, num_files, gone = sum(size for _, size, _ in found), len(found), []
    newest = time.time() - YOUNG_SECONDS
    for path, size, changed in found:
        if num_bytes <= max_bytes and num_files <= max_files:
            break
        if path in kept or changed > newest:
            continue
        with suppress(OSError):
            Path(path).unlink()
            num_bytes, num_files = num_bytes - size, num_files - 1
            gone.append(path)
            Path(path).parent.rmdir()  # if it was the last one there
    return gone


def _list_files(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Path, size and time of the last change of each file."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = f"{parent}{os.sep}{name}"
            with suppress(OSError):
                stat = os.lstat(path)
                yield path, stat.st_size, stat.st_mtime
