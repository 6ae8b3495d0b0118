"""Pictures sorted into classes by hand become a zip of own pictures with one folder per class."""

import hashlib
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.errors import UserError
from analysis.grammar import count
from models.data import class_layout, folders, zips
from models.data.decoding.formats import PICTURES, read_format
from models.data.images import SUFFIXES
from models.names import compose, simplify

MAX_CLASS_NAME = 60
MAX_NAMED, MAX_WORD = 3, 12
"""Classes in the name of a data set, and characters of each."""
_COPY_BYTES = 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)


def save_class_boxes(files_by_class: Mapping[str, Sequence[str | Path]], folder: str | Path) -> Path:
    """Packs pictures into a zip that :func:`models.data.folders.load_folder` reads; all or nothing.

    The same pictures in the same boxes give the same file again: its folder is called after its content. Boxes
    without pictures are left out.

    Args:
        folder: Where the zip goes; made if it is missing.

    Returns:
        ``folder/<hash>/cat-dog.zip``, called after the classes.

    Raises:
        UserError: Too few or too many classes or pictures, names that cannot be told apart, or no space left.
    """
    boxes = {name: [Path(file) for file in files] for name, files in files_by_class.items() if files}
    _check_boxes(boxes)
    names = _name_folders(boxes)
    folder = Path(folder)
    part = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as target:
            part = Path(target.name)
            with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:  # pictures are compressed already
                digest = _pack(archive, boxes, names)
        path = folder / digest[:8] / f"{_name_zip([*names.values()])}.zip"
        path.parent.mkdir(exist_ok=True)
        part.replace(path)
    except OSError as error:
        raise UserError(f"The pictures could not be saved ({error.strerror or error}).") from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    return path


def _check_boxes(boxes: Mapping[str, Sequence[Path]]) -> None:
    if not class_layout.MIN_CLASSES <= len(boxes) <= class_layout.MAX_CLASSES:
        raise UserError(
            f"There are pictures in {count(len(boxes), 'class')}; a data set needs from {class_layout.MIN_CLASSES} "
            f"to {class_layout.MAX_CLASSES}."
        )
    total = sum(len(files) for files in boxes.values())
    if total > class_layout.MAX_FILES:
        raise UserError(f"There are {total} pictures; at most {class_layout.MAX_FILES} are possible.")
    for name, files in boxes.items():
        if len(files) < folders.MIN_IMAGES_PER_CLASS:
            raise UserError(
                f"The class {name[:MAX_CLASS_NAME]} has {count(len(files), 'picture')}; every class needs at least "
                f"{folders.MIN_IMAGES_PER_CLASS}."
            )
        for file in files:
            if file.suffix.lower() not in SUFFIXES and read_format(file) not in PICTURES:
                raise UserError(f"{file.name} is not a kind of picture this program reads.")


def _name_folders(boxes: Mapping[str, object]) -> dict[str, str]:
    """Class -> a folder name that is safe on every system and not hidden, and differs from all others."""
    names: dict[str, str] = {}
    for name in boxes:
        safe = re.sub(r"[^\w .-]", "_", compose(name)).strip(" .")[:MAX_CLASS_NAME].strip(" .")
        if not safe or safe == "__MACOSX":
            raise UserError(f"A class cannot be called {name[:MAX_CLASS_NAME]!r}; use letters or digits.")
        for other, taken in names.items():
            if simplify(taken) == simplify(safe):
                raise UserError(f"The classes {other!r} and {name!r} cannot be told apart; rename one of them.")
        names[name] = safe
    return names


def _name_zip(names: Sequence[str]) -> str:
    """What a data set of these classes is called: "cat-dog", "cat-dog-bird-and-2-more"."""
    more = len(names) - MAX_NAMED
    words = [re.sub(r"[\s.-]+", "-", name)[:MAX_WORD].strip("-") for name in names[:MAX_NAMED]]
    return "-".join([*words, f"and-{more}-more"] if more > 0 else words)


def _pack(archive: zipfile.ZipFile, boxes: Mapping[str, Sequence[Path]], names: dict[str, str]) -> str:
    """Copies all pictures; returns a digest of their places and contents."""
    digest, bytes_left = hashlib.sha256(), zips.MAX_TOTAL_BYTES
    for category, files in boxes.items():
        for number, file in enumerate(files, start=1):
            stem, suffix = re.sub(r"[^\w-]", "_", file.stem)[:60], re.sub(r"[^\w.]", "_", file.suffix.lower())
            member = zipfile.ZipInfo(f"{names[category]}/{number:05}-{stem}{suffix}", _EPOCH)
            digest.update(f"{member.filename}\n".encode())
            size = 0
            with _open(file) as source, archive.open(member, "w") as target:
                while data := source.read(_COPY_BYTES):
                    size += len(data)
                    _check_size(file, size, bytes_left - size)
                    digest.update(data)
                    target.write(data)
            digest.update(size.to_bytes(8, "big"))
            bytes_left -= size
    return digest.hexdigest()


def _open(file: Path):
    if not file.is_file():
        raise UserError(f"There is no file {file.name}.")
    return file.open("rb")


def _check_size(file: Path, size: int, bytes_left: int) -> None:
    if size > zips.MAX_MEMBER_BYTES:
        raise UserError(f"{file.name} has more than {zips.MAX_MEMBER_BYTES // 2**20} MB.")
    if bytes_left < 0:
        limit = zips.MAX_TOTAL_BYTES / 2**30
        raise UserError(f"The pictures have more than {limit:g} GB together; use fewer.")
