"""The files that gradio keeps of what comes in and goes out: within a budget, oldest first."""

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import gradio as gr
from gradio.route_utils import FileUploadProgress

from ui.entry import Page

MAX_BYTES = 2 * 2**30
MAX_FILES = 50_000
MAX_UPLOADS = 1000
"""Whose progress is known; the newest."""
YOUNG_SECONDS = 120.0
"""A file that is younger may be on its way to a screen, or still be written."""


def forget_uploads(progress: FileUploadProgress) -> None:
    """Gradio keeps the progress of an upload until somebody asks, and every name that was asked about for ever."""
    kept: tuple[dict, ...] = (progress._statuses, progress._signals)
    for known in kept:
        for name in [*known][:-MAX_UPLOADS]:
            del known[name]


def sweep_page(page: gr.Blocks, folder: Path) -> int:
    """As :func:`sweep`, of a page's files and of each visitor's; what it shows from its beginning on stays."""
    kept = {str(path) for block in page.blocks.values() for path in getattr(block, "keep_in_cache", ())}
    gone = sweep(_list_paths(folder), kept, page.upload_file_set)
    visitors = page.visitors if isinstance(page, Page) else None
    quota = visitors.quotas.table.get(visitors.role or "") if visitors else None
    if visitors and quota:
        for name, paths in visitors.list_files().items():
            own = [path for path in paths if path.startswith(f"{folder.resolve()}{os.sep}")]
            gone += sweep(own, kept, max_bytes=quota.files_mb * 1e6, gives_up=partial(visitors.forget_file, name))
    for names in page.temp_file_sets:  # gradio would never forget them
        names.difference_update(gone)
    return len(gone)


def sweep(
    paths: Iterable[str],
    kept: Collection[str] = (),
    last: Collection[str] = (),
    max_bytes: float = MAX_BYTES,
    max_files: int = MAX_FILES,
    gives_up: Callable[[str], bool] = bool,
) -> list[str]:
    """Removes the oldest files until the others are within the budget; gives the paths of those that are gone.

    Args:
        paths: The files that count.
        kept: Paths of files that stay.
        last: Paths of files that go after all others.
        max_bytes: The sum of the files' sizes.
        max_files: Their number.
        gives_up: Told of each that is to go; whether it may be removed, as nobody else has it.
    """
    found = sorted(_look_at(paths), key=lambda file: (file[0] in last, file[2]))
    num_bytes, num_files, gone = sum(size for _, size, _ in found), len(found), []
    newest = time.time() - YOUNG_SECONDS
    for path, size, changed in found:
        if num_bytes <= max_bytes and num_files <= max_files:
            break
        if path in kept or changed > newest:
            continue
        with suppress(OSError):
            if gives_up(path):
                Path(path).unlink()
                gone.append(path)
            num_bytes, num_files = num_bytes - size, num_files - 1
            Path(path).parent.rmdir()  # if it was the last one there
    return gone


def _list_paths(folder: Path) -> Iterator[str]:
    return (f"{parent}{os.sep}{name}" for parent, _, names in os.walk(folder) for name in names)


def _look_at(paths: Iterable[str]) -> Iterator[tuple[str, int, float]]:
    """Path, size and time of the last change of each file that is there."""
    for path in paths:
        with suppress(OSError):
            stat = os.lstat(path)
            yield path, stat.st_size, stat.st_mtime
