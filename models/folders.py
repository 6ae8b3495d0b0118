"""The user's own pictures: a folder or a zip with one folder per class, reduced as they are read.

A zip may come from anyone. Nothing is extracted under a name of its choosing, what its headers claim is
never believed, and every limit is checked against the bytes that really come out.
"""

import hashlib
import itertools
import re
import stat
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from models.errors import ModelsError
from models.images import SUFFIXES, ImageError
from models.squares import read_squares

MAX_NAME_LENGTH = 300
MIN_CLASSES, MAX_CLASSES = 2, 1000
MIN_IMAGES_PER_CLASS = 5
MAX_MEMBERS = 50_000
MAX_MEMBER_BYTES = 32 * 2**20
MAX_TOTAL_BYTES = 4 * 2**30
MAX_TENSOR_BYTES = 2 * 2**30
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)
_COPY_BYTES = 2**20
_LAYOUT = "it needs one folder of pictures for each class, such as cats/1.jpg and dogs/1.jpg"


@dataclass(frozen=True)
class FolderImages:
    """Images ``(N, 3, S, S)`` uint8, labels ``(N,)`` int64 and names; ``skipped`` has "file: reason" for the rest."""

    images: np.ndarray
    labels: np.ndarray
    categories: tuple[str, ...]
    skipped: tuple[str, ...]
    names: tuple[str, ...]


class _Source(Protocol):
    """Files under relative names, each available as a local path for as long as it is looked at."""

    def names(self) -> list[PurePosixPath]: ...

    def open(self, name: PurePosixPath): ...


def load_folder(
    path: Path, *, image_size: int, progress: Callable[[float, str], None] = lambda fraction, message: None
) -> FolderImages:
    """Reads all pictures, reduced at once to squares of ``image_size`` pixels (shorter side, centre crop).

    A single folder around the class folders is accepted; hidden files and macOS extras are ignored;
    pictures that cannot be read are skipped and listed.

    Args:
        path: A folder, or a .zip file.
        image_size: Side of the result in pixels.
        progress: Told the fraction done.

    Raises:
        ModelsError: No usable layout, too few pictures, or a zip that is damaged, encrypted or unsafe.
    """
    path = Path(path)
    if path.is_dir():
        return _load(FolderSource(path), path.name, image_size, progress)
    if not path.is_file():
        raise ModelsError(f"There is no folder or zip file {path}.")
    with open_zip(path) as archive, tempfile.TemporaryDirectory(prefix="convscope-") as scratch:
        return _load(ZipSource(archive, path.name, Path(scratch)), path.name, image_size, progress)


def _load(source: _Source, title: str, image_size: int, progress) -> FolderImages:
    members, skipped = sort_into_classes(source.names(), title)
    _check_memory(title, len(members), image_size)
    images = np.empty((len(members), 3, image_size, image_size), dtype=np.uint8)
    labels, names = [], []
    squares = read_squares([partial(source.open, name) for _, name in members], image_size)
    with closing(squares):
        for done, ((category, name), square) in enumerate(zip(members, squares, strict=True)):
            if done % 50 == 0:
                progress(done / len(members), "Reading pictures")
            if isinstance(square, ImageError):
                skipped.append(f"{name}: {square}")
            else:
                images[len(labels)] = square
                labels.append(category)
                names.append(str(name))
    categories = sorted({category for category, _ in members})
    _check_counts(title, categories, labels, skipped)
    numbers = {category: number for number, category in enumerate(categories)}
    return FolderImages(
        images=images[: len(labels)],
        labels=np.array([numbers[category] for category in labels], dtype=np.int64),
        categories=tuple(categories),
        skipped=tuple(skipped),
        names=tuple(names),
    )


def list_files(path: Path) -> list[Path]:
    """The files that a folder or zip of own pictures consists of: those in the folder, or the zip itself.

    Raises:
        ModelsError: The folder has too many files.
    """
    return [path / name for name in FolderSource(path).names()] if path.is_dir() else [path]


def hash_files(path: Path, files: Iterable[Path]) -> str:
    """SHA-256 over the place of a folder or zip and the names, sizes and times of its files, unread."""
    digest = hashlib.sha256(str(path.resolve()).encode())
    for file in sorted(files):
        with suppress(OSError):  # one that is gone again will be missed when it is opened
            facts = file.stat()
            name = file.relative_to(path).as_posix() if path in file.parents else file.name
            digest.update(f"\n{name} {facts.st_size} {facts.st_mtime_ns}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def sort_into_classes(names: list[PurePosixPath], title: str) -> tuple[list[tuple[str, PurePosixPath]], list[str]]:
    """(class, name) of every picture, in a fixed order, and why other files are left out."""
    names = sorted(name for name in names if not _is_hidden(name))
    pictures = [name for name in names if name.suffix.lower() in SUFFIXES]
    depth = 0
    while pictures and all(len(name.parts) > depth + 2 for name in pictures) and _one_top(pictures, depth):
        depth += 1
    members, skipped = [], []
    for name in names:
        if name.suffix.lower() not in SUFFIXES:
            skipped.append(f"{name}: is not a kind of picture this program reads.")
        elif len(name.parts) < depth + 2:
            skipped.append(f"{name}: lies outside the class folders.")
        else:
            members.append((name.parts[depth], name))
    num_classes = len({category for category, _ in members})
    if num_classes < MIN_CLASSES:
        found = f"{num_classes} class folder" + ("" if num_classes == 1 else "s")
        raise ModelsError(f"{title} has {found} with pictures, but {_LAYOUT}.")
    if num_classes > MAX_CLASSES:
        raise ModelsError(f"{title} has {num_classes} class folders; at most {MAX_CLASSES} are possible.")
    return members, skipped


def _one_top(names: list[PurePosixPath], depth: int) -> bool:
    return len({name.parts[depth] for name in names}) == 1


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.parts)


def _check_memory(title: str, num_images: int, image_size: int) -> None:
    num_bytes = 3 * num_images * image_size**2
    if num_bytes > MAX_TENSOR_BYTES:
        raise ModelsError(
            f"{num_images} pictures of {image_size} x {image_size} pixels from {title} take "
            f"{num_bytes / 2**30:.1f} GB of memory; at most {MAX_TENSOR_BYTES / 2**30:g} GB are possible."
        )


def _check_counts(title: str, categories: list[str], labels: list[str], skipped: list[str]) -> None:
    counts = Counter(labels)
    for category in categories:
        if counts[category] < MIN_IMAGES_PER_CLASS:
            hint = f" The first problem was: {skipped[0]}" if skipped else ""
            raise ModelsError(
                f"The class {category} of {title} has {counts[category]} readable pictures; "
                f"every class needs at least {MIN_IMAGES_PER_CLASS}.{hint}"
            )


class FolderSource:
    """The files of a folder by name."""

    def __init__(self, path: Path):
        self.path = path

    def names(self) -> list[PurePosixPath]:
        names = []
        for path in self.path.rglob("*"):
            if path.is_file():
                names.append(PurePosixPath(path.relative_to(self.path).as_posix()))
            if len(names) > MAX_MEMBERS:
                raise ModelsError(f"{self.path.name} has more than {MAX_MEMBERS} files.")
        return names

    @contextmanager
    def open(self, name: PurePosixPath) -> Iterator[Path]:
        yield self.path / name


class ZipSource:
    """The files of a zip by name, unpacked when they are opened; what all of them may take together is bounded."""

    def __init__(self, archive: zipfile.ZipFile, title: str, scratch: Path):
        self.archive, self.title, self.scratch = archive, title, scratch
        self.bytes_left = MAX_TOTAL_BYTES
        self.counted: set[PurePosixPath] = set()
        # Two files open at once may have the same name, so each has a folder; making them anew would be slow.
        self.new_folders = (scratch / str(number) for number in itertools.count())
        self.free_folders: list[Path] = []
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise ModelsError(f"{title} has {len(members)} files; at most {MAX_MEMBERS} are possible.")
        for member in members:
            _check_member(member, title)
        self.members = {PurePosixPath(m.filename): m for m in members if not m.is_dir()}

    def names(self) -> list[PurePosixPath]:
        return list(self.members)

    @contextmanager
    def open(self, name: PurePosixPath) -> Iterator[Path]:
        """One member as a file in the scratch folder, under a harmless name, for the time it is used."""
        folder = self.free_folders.pop() if self.free_folders else next(self.new_folders)
        folder.mkdir(exist_ok=True)
        local = folder / re.sub(r"[^\w. -]", "_", name.name)[-60:]
        size, is_new = 0, name not in self.counted
        self.counted.add(name)
        try:
            with local.open("wb") as copy:
                for data in self._chunks(name):
                    size += len(data)
                    self._check_size(name, size, len(data) if is_new else 0)
                    copy.write(data)
            yield local
        finally:
            local.unlink(missing_ok=True)
            self.free_folders.append(folder)

    def _chunks(self, name: PurePosixPath) -> Iterator[bytes]:
        try:
            with self.archive.open(self.members[name]) as member:
                while data := member.read(_COPY_BYTES):
                    yield data
        except ZIP_ERRORS as error:
            raise ImageError(f"{name.name} is damaged inside the zip.") from error

    def _check_size(self, name: PurePosixPath, size: int, added: int) -> None:
        self.bytes_left -= added
        if size > MAX_MEMBER_BYTES:
            raise ImageError(f"{name.name} has more than {MAX_MEMBER_BYTES // 2**20} MB.")
        if self.bytes_left < 0:
            limit = MAX_TOTAL_BYTES / 2**30
            raise ModelsError(f"{self.title} unpacks to more than {limit:g} GB; use fewer pictures.")


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip file for reading; ModelsError if it is none."""
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        raise ModelsError(f"{path.name} is not a zip file, or it is damaged.") from error
    with archive:
        yield archive


def _check_member(member: zipfile.ZipInfo, title: str) -> None:
    name = member.filename
    parts = PurePosixPath(name).parts
    shown = repr(name[:100])
    is_windows_path = "\\" in member.orig_filename or (parts and ":" in parts[0])
    if name.startswith("/") or ".." in parts or is_windows_path or "\0" in member.orig_filename:
        raise ModelsError(f"{title} has a file with the unsafe name {shown}; pack the folder again.")
    if len(name) > MAX_NAME_LENGTH:
        raise ModelsError(
            f"{title} has a file name of {len(name)} characters; at most {MAX_NAME_LENGTH} are possible."
        )
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ModelsError(f"{title} has the symbolic link {shown}; pack the pictures themselves.")
    if member.flag_bits & 0x1:
        raise ModelsError(f"{title} is encrypted; pack it without a password.")
    # The decoders of other methods cannot be told to stop after so many bytes.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelsError(f"{title} uses an unusual compression; pack it as an ordinary zip.")
