"""Own pictures to train on: folders that are here, and class boxes that become a data set."""

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path, PurePath

from models.data.class_boxes import save_class_boxes
from models.data.system_files import is_system_file
from models.names import find_path, list_readable

MAX_WRAPPERS = 4
"""Folders inside each other that are looked into for class folders."""
MAX_KEPT_ZIPS = 16
"""Packed boxes kept at a time; a run that trains on one has its own copy."""


def list_folders(data_root: Path) -> list[str]:
    """Readable names of the folders in the data root in which there are several folders, perhaps inside of one."""
    root = find_path(data_root)
    try:
        names = list_readable(root)
    except OSError:  # not there, or not to be read
        return []
    return sorted(shown for name, shown in names.items() if not name.startswith(".") and _has_folders(root / name))


def _has_folders(path: Path) -> bool:
    """Whether a folder, or a link to one, holds several folders, or one that does."""
    try:
        for _ in range(MAX_WRAPPERS):
            inner = [child for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")]
            inner = [child for child in inner if not is_system_file(PurePath(child.name))]
            if len(inner) != 1:
                return len(inner) > 1
            path = inner[0]
    except OSError:  # not a folder, or not to be read
        pass
    return False


class BoxStore:
    """Packed class boxes: the same pictures are the same file, and only the last ones are kept."""

    def __init__(self, max_kept: int = MAX_KEPT_ZIPS):
        self.max_kept = max_kept
        self._folder: tempfile.TemporaryDirectory | None = None
        self._kept: list[Path] = []
        self._guard = threading.Lock()

    def pack(self, files_by_class: Mapping[str, list[str]]) -> Path:
        """The zip of these pictures. Raises UserError: too few or too many classes or pictures, or no space left."""
        with self._guard:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="convscope-boxes-")
        path = save_class_boxes(files_by_class, self._folder.name)
        with self._guard:
            self._kept = [kept for kept in self._kept if kept != path] + [path]
            while len(self._kept) > self.max_kept:
                self._kept.pop(0).unlink(missing_ok=True)
        return path
