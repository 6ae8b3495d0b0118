"""Folders for as long as a process lives. What killed ones have left, the next one removes."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from models.runs.process import find_process, record_process

PREFIX = "convscope-"


def open_scratch(kind: str = "") -> tempfile.TemporaryDirectory[str]:
    """An empty folder but for ``process.json``, which says whose it is; it goes with the object, or with the process.

    Args:
        kind: Begins its name, after ``PREFIX``.

    Raises:
        OSError: No folder can be made.
    """
    folder = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{kind}")
    with suppress(OSError, psutil.Error):  # it would stay for good if this process were killed
        record_process(Path(folder.name), os.getpid())
    return folder


def sweep_scratch() -> list[Path]:
    """Removes the folders of this user's processes that have ended without that; gives what is gone."""
    gone = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            is_own = not hasattr(os, "getuid") or folder.lstat().st_uid == os.getuid()
            if (
                is_own
                and not folder.is_symlink()
                and (folder / "process.json").is_file()
                and find_process(folder) is None
            ):
                shutil.rmtree(folder, ignore_errors=True)
                gone.append(folder)
    return gone
