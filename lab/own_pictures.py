"""Own pictures to train on: folders that are here, and class boxes, filled by a camera too, as a data set."""

import base64
import binascii
import shutil
import tempfile
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath

from PIL import Image

from analysis.errors import UserError
from models.access import viewer
from models.data.class_boxes import save_class_boxes
from models.data.images import count_pixels, open_image
from models.data.system_files import is_system_file
from models.names import find_path, list_readable
from models.runs.scratch import open_scratch

MAX_WRAPPERS = 4
"""Folders inside each other that are looked into for class folders."""
MAX_KEPT_ZIPS = 16
"""Packed boxes kept at a time; a run that trains on one has its own copy."""
MAX_BOXES, MAX_IN_BOX = 20, 500
MAX_SMALL_BYTES, MAX_SMALL_PIXELS = 256 * 2**10, 2**20
"""Of a picture that the browser has made small."""
MAX_VISITOR_BYTES, MAX_KEPT_BYTES = 192 * 2**20, 2**30
"""Of the pictures in one visitor's boxes, and in all."""


def list_folders(data_root: Path) -> list[str]:
    """Readable names of the folders in the data root in which there are several folders, perhaps inside of one.

    None for a visitor: what is on this machine is the owner's.
    """
    if not viewer().is_owner:
        return []
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


def read_small(text: str) -> bytes:
    """A small JPEG that a browser has made, in base64. Raises UserError: anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError("A picture did not arrive as it was sent; record it again.") from error
    if len(data) > MAX_SMALL_BYTES:
        raise UserError(f"A picture has more than {MAX_SMALL_BYTES // 2**10} KB; put large ones into a zip.")
    if not data.startswith(b"\xff\xd8\xff"):
        raise UserError("A picture that came is no JPEG, as browsers send them here.")
    return data


def open_small(data: bytes) -> Image.Image:
    """The picture, of not more than ``MAX_SMALL_PIXELS``. Raises UserError."""
    with tempfile.NamedTemporaryFile(prefix="picture-", suffix=".jpg") as file:
        file.write(data)
        file.flush()
        if count_pixels(file.name) > MAX_SMALL_PIXELS:
            raise UserError(f"A picture has more than {MAX_SMALL_PIXELS:,} pixels; put large ones into a zip.")
        return open_image(file.name)


class BoxStore:
    """What is in the visitors' class boxes, for as long as they are there; and boxes packed for a training.

    A set of boxes has a key that only its visitor's browser knows, and numbers its pictures.
    """

    def __init__(self, max_kept: int = MAX_KEPT_ZIPS):
        self.max_kept = max_kept
        self._folder: tempfile.TemporaryDirectory | None = None
        self._kept: list[Path] = []
        self._sizes: dict[str, dict[int, int]] = {}
        self._owners: dict[str, str] = {}
        self._viewers: dict[str, str] = {}
        self._guard = threading.RLock()

    def keep(self, owner: str, key: str, pictures: Mapping[int, bytes], wanted: Collection[int]) -> None:
        """Keeps more pictures of a set, all or none; of the earlier ones those that are still wanted.

        Args:
            owner: The visitor's session; another one's set cannot be added to.
            key: Which set; any other set of the same visitor is forgotten.
            pictures: Number -> a JPEG, from :func:`read_small`.
            wanted: The numbers of all pictures that are in boxes.

        Raises:
            UserError: Too many, too large, or no pictures.
        """
        for data in pictures.values():
            open_small(data)
        with self._guard:
            if self._owners.get(key, owner) != owner:
                raise UserError("These boxes belong to another page; load this one again.")
            for other in [each for each, whose in self._owners.items() if whose == owner and each != key]:
                self._remove(other)
            before = self._sizes.get(key, {})
            sizes = {number: size for number, size in before.items() if number in wanted}
            sizes |= {number: len(data) for number, data in pictures.items()}
            if len(sizes) > MAX_BOXES * MAX_IN_BOX or sum(sizes.values()) > MAX_VISITOR_BYTES:
                raise UserError(
                    f"Boxes hold at most {MAX_BOXES * MAX_IN_BOX:,} pictures of {MAX_VISITOR_BYTES // 2**20} MB "
                    "together; put more into a zip."
                )
            for number in before.keys() - sizes.keys():
                self._path(key, number).unlink(missing_ok=True)
            self._sizes.pop(key, None)  # the one that was used last comes last
            self._owners[key], self._sizes[key], self._viewers[key] = owner, sizes, viewer().name
            while sum(sum(each.values()) for each in self._sizes.values()) > MAX_KEPT_BYTES:
                self._remove(next(iter(self._sizes)))  # its browser sends it again with the next picture
            for number, data in pictures.items():
                self._path(key, number).parent.mkdir(exist_ok=True)
                self._path(key, number).write_bytes(data)

    def find(self, key: str, numbers: Sequence[int]) -> list[str]:
        """The files of pictures of a set, without those that are not here, or are another browser's."""
        with self._guard:
            sizes = self._sizes.get(key, {}) if viewer().owns(self._viewers.get(key)) else {}
            return [str(self._path(key, number)) for number in numbers if number in sizes]

    def list_missing(self, key: str, numbers: Sequence[int]) -> list[int]:
        """Which of the numbers are of no picture that is here."""
        with self._guard:
            return [number for number in numbers if number not in self._sizes.get(key, {})]

    def forget(self, owner: str) -> None:
        """Removes what is in a visitor's boxes."""
        with self._guard:
            for key in [key for key, whose in self._owners.items() if whose == owner]:
                self._remove(key)

    def pack(self, files_by_class: Mapping[str, list[str]]) -> Path:
        """The zip of these pictures. Raises UserError: too few or too many classes or pictures, or no space left."""
        path = save_class_boxes(files_by_class, self._open_folder())
        with self._guard:
            self._kept = [kept for kept in self._kept if kept != path] + [path]
            while len(self._kept) > self.max_kept:
                shutil.rmtree(self._kept.pop(0).parent, ignore_errors=True)
        return path

    def _open_folder(self) -> Path:
        with self._guard:
            if self._folder is None:
                self._folder = open_scratch("boxes-")
            return Path(self._folder.name)

    def _path(self, key: str, number: int) -> Path:
        return self._open_folder() / key / f"{number}.jpg"

    def _remove(self, key: str) -> None:
        del self._owners[key], self._sizes[key], self._viewers[key]
        shutil.rmtree(self._path(key, 0).parent, ignore_errors=True)
