"""The user's own pictures: a folder or a zip with one folder per class, reduced as they are read."""

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from analysis.errors import MessageProgress, UserError
from analysis.grammar import count
from models.data.class_layout import Layout, Member, Source, check_file_count, join_words, sort_into_classes
from models.data.crops import read_squares
from models.data.decoding.formats import HEAD_BYTES, ImageError
from models.data.system_files import is_system_file
from models.data.zips import ZipSource, open_zip
from models.names import describe_encoding, find_path, make_readable, number_twins, read_names, refuse_lookalikes
from models.runs.scratch import open_scratch

MIN_IMAGES_PER_CLASS = 5
MAX_TENSOR_BYTES = 2 * 2**30
_PROGRESS_SECONDS = 0.25


@dataclass(frozen=True)
class FolderImages:
    """Own pictures in memory.

    Attributes:
        images: ``(N, 3, S, S)`` uint8.
        labels: ``(N,)`` int64.
        skipped: "file: reason" for the files that were left out.
        parts: Of each picture "train", "validation" or "test" where folders say so, else None.
    """

    images: np.ndarray
    labels: np.ndarray
    categories: tuple[str, ...]
    skipped: tuple[str, ...]
    names: tuple[str, ...]
    parts: tuple[str | None, ...]
    notes: tuple[str, ...]


def load_folder(
    path: Path, *, image_size: int, progress: MessageProgress = lambda fraction, message: None
) -> FolderImages:
    """Reads all pictures, reduced at once to squares of ``image_size`` pixels (shorter side, centre crop).

    Folders around the class folders, and split folders such as train and val, are understood; hidden files and
    the system's own are ignored; pictures that cannot be read are skipped and listed.

    Args:
        image_size: Side of the result in pixels.
        progress: Told the fraction done, several times a second; what it raises ends the reading.

    Raises:
        UserError: No usable layout, too few pictures, or a zip that is damaged, encrypted or unsafe.
    """
    patient = _Patient(progress)
    with open_source(path, lambda: patient(0.0, "Listing files")) as source:
        layout = sort_into_classes(source, lambda: patient(0.0, "Listing files"))
        return _read(source, layout, image_size, patient)


@contextmanager
def open_source(path: Path, tell: Callable[[], None] = lambda: None) -> Iterator[Source]:
    """The files of a folder or zip, for as long as the context lasts.

    Args:
        path: Of a folder or a .zip file; one made readable is found too.
        tell: Called for each file while they are listed; what it raises ends that.

    Raises:
        UserError: Nothing there, too many files, or a zip that is damaged, encrypted or unsafe.
    """
    path = find_path(path)
    if path.is_dir():
        yield FolderSource(path, tell)
    elif path.is_file():
        with open_zip(path) as archive, open_scratch() as scratch:
            yield ZipSource(archive, path, Path(scratch))
    else:
        raise UserError(f"There is no folder or zip file {make_readable(path.name)}.")


def _read(source: Source, layout: Layout, image_size: int, progress: "_Patient") -> FolderImages:
    members, skipped = layout.members, list(layout.skipped)
    _check_memory(source.title, len(members), image_size)
    images = np.empty((len(members), 3, image_size, image_size), dtype=np.uint8)
    read: list[Member] = []
    squares = read_squares([partial(source.open, member.name) for member in members], image_size)
    with closing(squares):
        for done, (member, square) in enumerate(zip(members, squares, strict=True)):
            progress(done / len(members), "Reading pictures", urgent=done % 50 == 0)
            if isinstance(square, ImageError):
                skipped.append(f"{member.name}: {square}")
            else:
                images[len(read)] = square
                read.append(member)
    counts = Counter(member.category for member in read if member.part in (None, "train"))
    _check_counts(source.title, layout, counts, skipped)
    numbers = {category: number for number, category in enumerate(layout.categories)}
    return FolderImages(
        images=images[: len(read)],
        labels=np.array([numbers[member.category] for member in read], dtype=np.int64),
        categories=layout.categories,
        skipped=tuple(skipped),
        names=tuple(str(member.name) for member in read),
        parts=tuple(member.part for member in read),
        notes=layout.notes,
    )


def list_files(path: Path) -> list[Path]:
    """The files that a folder or zip of own pictures consists of: those in the folder, or the zip itself.

    Raises:
        UserError: The folder has too many files.
    """
    path = find_path(path)
    return list(FolderSource(path).files.values()) if path.is_dir() else [path]


def hash_files(path: Path, files: Iterable[Path]) -> str:
    """SHA-256 over the place of a folder or zip and the names, sizes and times of its files, unread."""
    path = find_path(path)
    digest = hashlib.sha256(os.fsencode(path.resolve()))
    for file in sorted(files):
        with suppress(OSError):  # one that is gone again will be missed when it is opened
            facts = file.stat()
            name = file.relative_to(path) if path in file.parents else file.name
            digest.update(b"\n%s %d %d" % (os.fsencode(name), facts.st_size, facts.st_mtime_ns))
    return digest.hexdigest()


class _Patient:
    """Passes on what is urgent, and of all else what comes a while after the last."""

    def __init__(self, progress: MessageProgress):
        self.progress, self.last = progress, time.monotonic()

    def __call__(self, fraction: float, message: str, urgent: bool = False) -> None:
        now = time.monotonic()
        if urgent or now - self.last > _PROGRESS_SECONDS:
            self.last = now
            self.progress(fraction, message)


def _check_memory(title: str, num_images: int, image_size: int) -> None:
    num_bytes = 3 * num_images * image_size**2
    if num_bytes > MAX_TENSOR_BYTES:
        raise UserError(
            f"{num_images} pictures of {image_size} x {image_size} pixels from {title} take "
            f"{num_bytes / 2**30:.1f} GB of memory; at most {MAX_TENSOR_BYTES / 2**30:g} GB are possible."
        )


def _check_counts(title: str, layout: Layout, counts: Counter, skipped: Sequence[str]) -> None:
    parts = {member.part for member in layout.members}
    if parts.isdisjoint({None, "train"}):
        raise UserError(
            f"{title} has pictures for {join_words(sorted(filter(None, parts)))} but no folder train to train on."
        )
    where = " for training" if "train" in parts else ""
    for category in layout.categories:
        if counts[category] < MIN_IMAGES_PER_CLASS:
            folders = {f"{member.folder}/" for member in layout.members if member.category == category}
            problem = next((line for line in skipped if line.startswith(tuple(folders))), "")
            raise UserError(
                f"The class {category} of {title} has {count(counts[category], 'readable picture')}{where}; "
                f"every class needs at least {MIN_IMAGES_PER_CLASS}."
                + (f" The first problem was: {problem}" if problem else "")
            )


class FolderSource:
    """The files of a folder under readable names; links are followed where they lead to something new.

    Args:
        tell: Called for each file; what it raises ends the search.

    Attributes:
        files: Readable name -> where it is.
        problems: Readable name -> why nothing can be said about what is there.

    Raises:
        UserError: Too many files, or folders that cannot be told apart.
    """

    def __init__(self, path: Path, tell: Callable[[], None] = lambda: None):
        self.path, self.title = path, make_readable(Path(os.path.abspath(path)).name)  # noqa: PTH100 (keeps links)
        files, folders, problems = self._walk(tell)
        parts, encoding = read_names({part for name in (*files, *folders, *problems) for part in name.parts})
        self.notes = describe_encoding(self.title, encoding)
        shown = {name: PurePosixPath(*(parts[part] for part in name.parts)) for name in (*files, *folders, *problems)}
        files.sort()
        refuse_lookalikes(self.title, ((shown[name].parent, name.parent) for name in files))
        unique = number_twins(shown[name] for name in files)
        self.files = {name: path / real for name, real in zip(unique, files, strict=True)}
        self.folders = {shown[name] for name in folders}
        self.problems = {shown[name]: problem for name, problem in problems.items()}

    def _walk(self, tell) -> tuple[list[PurePosixPath], list[PurePosixPath], dict[PurePosixPath, str]]:
        """Files, folders and problems under their real names; of a hidden folder only what lies directly in it."""
        files: list[PurePosixPath] = []
        folders: list[PurePosixPath] = []
        problems: dict[PurePosixPath, str] = {}
        outermost: tuple[tuple[int, int], ...] = (_identify(self.path),)
        waiting = [(PurePosixPath(), outermost)]
        while waiting:
            inside, around = waiting.pop()
            for entry in self._list(inside, problems):
                tell()
                name, is_hidden = inside / entry.name, entry.name.startswith(".") or inside.name.startswith(".")
                if is_system_file(PurePosixPath(entry.name)):
                    continue
                if _is(entry.is_file):
                    files.append(name)
                elif not _is(entry.is_dir):
                    problems[name] = "is a link that leads nowhere" if entry.is_symlink() else "is no ordinary file"
                elif (identity := _identify(entry.path)) in around:
                    problems[name] = "is a link to a folder around it"
                else:
                    folders.append(name)
                    if not is_hidden or inside == PurePosixPath():
                        waiting.append((name, (*around, identity)))
            check_file_count(self.title, max(len(files), len(folders)))
        return files, folders, problems

    def _list(self, inside: PurePosixPath, problems: dict[PurePosixPath, str]) -> list[os.DirEntry]:
        try:
            with os.scandir(self.path / inside) as entries:
                return list(entries)
        except OSError as error:
            if not inside.parts:
                raise UserError(f"{self.title} cannot be read ({error.strerror}).") from error
            problems[inside] = f"cannot be read ({error.strerror})"
            return []

    def read_head(self, name: PurePosixPath) -> bytes:
        """How a file begins; ImageError if it cannot be read."""
        try:
            with self.files[name].open("rb") as file:
                return file.read(HEAD_BYTES)
        except OSError as error:
            raise ImageError(f"{name.name} cannot be read ({error.strerror}).") from error

    @contextmanager
    def open(self, name: PurePosixPath) -> Iterator[Path]:
        """One file, where it lies."""
        yield self.files[name]


def _identify(folder: str | Path) -> tuple[int, int]:
    facts = Path(folder).stat()
    return facts.st_dev, facts.st_ino


def _is(ask: Callable[[], bool]) -> bool:
    """The answer of a directory entry; no, where it cannot be had, as of a link that leads to itself."""
    try:
        return ask()
    except OSError:
        return False
