"""Which folders are classes, which are splits such as train and val, and what is left out, with the reason."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from analysis.errors import UserError
from analysis.grammar import agree, count
from models.data.decoding.formats import PICTURES, ImageError, name_format
from models.data.images import SUFFIXES
from models.names import simplify

MIN_CLASSES, MAX_CLASSES = 2, 1000
MAX_FILES = 50_000
PARTS = ("train", "validation", "test")
PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""What people call the folders of a divided data set, in any case -> the part that it is."""
_ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".tgz", ".gz")
_UNPACK = "is an archive; unpack it and use the folders in it."
_PURPOSES = {"train": "training", "validation": "validation", "test": "the test"}
_LAYOUT = "it needs one folder of pictures for each class, such as cats/1.jpg and dogs/1.jpg"
_SHOWN, _NAMED = 3, 6


class Source(Protocol):
    """Files under relative, readable names, each available as a local path for as long as it is looked at.

    Attributes:
        files: Names of all files but the system's.
        folders: Names of folders, at least of those without files.
        problems: Name -> why nothing can be said about what is there, such as "is a link that leads nowhere".
    """

    title: str
    notes: tuple[str, ...]

    @property
    def files(self) -> Mapping[PurePosixPath, object]: ...

    @property
    def folders(self) -> Collection[PurePosixPath]: ...

    @property
    def problems(self) -> Mapping[PurePosixPath, str]: ...

    def read_head(self, name: PurePosixPath) -> bytes: ...

    def open(self, name: PurePosixPath) -> AbstractContextManager[Path]: ...


class Member(NamedTuple):
    """A picture: its class and that folder, its part of the data where a folder says one, and its name."""

    category: str
    folder: PurePosixPath
    part: str | None
    name: PurePosixPath


@dataclass(frozen=True)
class Layout:
    """Every picture in a fixed order, "file: reason" for the files that are left out, and sentences for the user."""

    members: tuple[Member, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def categories(self) -> tuple[str, ...]:
        """The classes, sorted."""
        return tuple(sorted({member.category for member in self.members}))


def sort_into_classes(source: Source, tell: Callable[[], None] = lambda: None) -> Layout:
    """Finds the class folders, inside of one that is around all of them and of split folders such as train and val.

    Where its suffix does not say that a file is a picture, its first bytes do.

    Args:
        tell: Called for each file that is looked into; what it raises ends the search.

    Raises:
        UserError: Too few or too many classes.
    """
    names = sorted(name for name in source.files if not _is_hidden(name))
    reasons = {name: reason for name in names if (reason := _find_reason(source, name, tell))}
    members, splits = _arrange([name for name in names if name not in reasons])
    placed = {member.name for member in members}
    reasons = {name: "lies outside the class folders." for name in names if name not in placed} | reasons
    vanished, hidden_problems = _list_vanished(source, members, reasons)
    lines = sorted((reasons | hidden_problems).items())
    skipped = tuple(f"{name}: {reason}" for name, reason in lines)
    categories = {member.category for member in members}
    _check_count(source.title, categories, [*vanished, *skipped])
    notes = [*source.notes, *_describe_splits(splits, members), *vanished]
    notes += [*_warn_of_nesting(members), *_warn_of_spellings(categories)]
    return Layout(tuple(members), skipped, tuple(notes))


def check_file_count(title: str, count: int) -> None:
    """Raises UserError for more files than a set may have."""
    if count > MAX_FILES:
        raise UserError(f"{title} has more than {MAX_FILES} files.")


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _find_reason(source: Source, name: PurePosixPath, tell: Callable[[], None]) -> str:
    """Why a file is no picture; nothing if it is one, of whatever kind."""
    suffix = name.suffix.lower()
    if suffix in SUFFIXES:
        return ""
    if suffix in _ARCHIVES:
        return _UNPACK
    tell()
    try:
        kind = name_format(source.read_head(name))
    except ImageError as error:
        return str(error)
    if kind in PICTURES:
        return ""
    return f"is not a kind of picture this program reads{f' ({kind})' if kind else ''}."


def _arrange(pictures: Sequence[PurePosixPath]) -> tuple[list[Member], dict[str, str]]:
    """The pictures that are in class folders, and name -> part of the folders that divide them."""
    depth = _unwrap(pictures, 0)
    splits, part_depth = _find_splits(pictures, depth), depth
    if splits:
        pictures = [name for name in pictures if name.parts[depth] in splits]
        depth = _unwrap(pictures, depth + 1)
    else:
        splits, part_depth = _find_inner_splits(pictures, depth), depth + 1
    return [
        Member(
            category=name.parts[depth],
            folder=PurePosixPath(*name.parts[: depth + 1]),
            part=splits[name.parts[part_depth]] if splits else None,
            name=name,
        )
        for name in pictures
        if len(name.parts) > depth + 1
    ], splits


def _unwrap(pictures: Sequence[PurePosixPath], depth: int) -> int:
    """The depth of the class folders: goes into a folder that holds all others, as long as there is one."""
    while True:
        inside = [name for name in pictures if len(name.parts) > depth + 1]
        is_one = len({name.parts[depth] for name in inside}) == 1
        if not (is_one and any(len(name.parts) > depth + 2 for name in inside)):
            return depth
        depth += 1


def _find_splits(pictures: Sequence[PurePosixPath], depth: int) -> dict[str, str]:
    """Name -> part of the folders that are splits: several parts, of which one at least holds folders."""
    inside = [name for name in pictures if len(name.parts) > depth + 1]
    splits = _name_parts({name.parts[depth] for name in inside})
    has_folders = any(len(name.parts) > depth + 2 and name.parts[depth] in splits for name in inside)
    return splits if has_folders and len(set(splits.values())) > 1 else {}


def _find_inner_splits(pictures: Sequence[PurePosixPath], depth: int) -> dict[str, str]:
    """The same where the splits are inside of each class and hold all of its pictures: cats/train, cats/val."""
    inside = [name for name in pictures if len(name.parts) > depth + 1]
    folders = {name.parts[depth + 1] if len(name.parts) > depth + 2 else "" for name in inside}
    splits = _name_parts(folders)
    return splits if splits.keys() == folders and len(set(splits.values())) > 1 else {}


def _name_parts(folders: Iterable[str]) -> dict[str, str]:
    return {folder: PART_NAMES[simplify(folder)] for folder in sorted(folders) if simplify(folder) in PART_NAMES}


def _list_vanished(
    source: Source, members: Sequence[Member], reasons: Mapping[PurePosixPath, str]
) -> tuple[list[str], dict[PurePosixPath, str]]:
    """A sentence for each folder beside the classes that is none, and what is wrong inside of the classes."""
    classes = {member.folder for member in members}
    around = {PurePosixPath(), *(parent for folder in classes for parent in folder.parents)}
    contents: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    inside = {}
    for name in sorted({*source.files, *source.folders, *source.problems}):
        folder = next((path for path in reversed([name, *name.parents]) if path not in around), None)
        if folder in classes:
            if name in source.problems:
                inside[name] = f"{source.problems[name]}."
        elif folder is not None and not (folder == name and name in source.files):
            contents[folder].append(name)
    sentences = (_explain(source, folder, names, reasons) for folder, names in contents.items())
    return [sentence for sentence in sentences if sentence], inside


def _explain(
    source: Source, folder: PurePosixPath, names: Sequence[PurePosixPath], reasons: Mapping[PurePosixPath, str]
) -> str:
    """Why a folder is no class; nothing for a hidden one without pictures, which nobody misses."""
    if folder in source.problems:
        return f"{folder} was left out: it {source.problems[folder]}."
    if folder.name.startswith("."):
        has_pictures = any(name.suffix.lower() in SUFFIXES for name in names if name in source.files)
        return f"The folder {folder} was left out: its name begins with a dot." if has_pictures else ""
    if problem := next((name for name in names if name in source.problems), None):
        return f"The folder {folder} was left out: {problem.name} {source.problems[problem]}."
    if files := [name for name in names if name in reasons]:
        first, num_files = files[0], count(len(files), "file")
        return f"The folder {folder} was left out, with {num_files}; {first.name}: {reasons[first]}"
    is_empty = not any(name in source.files for name in names)
    return f"The folder {folder} was left out: it {'is empty' if is_empty else 'has only hidden files'}."


def _check_count(title: str, categories: Collection[str], hints: Sequence[str]) -> None:
    if len(categories) < MIN_CLASSES:
        more = "".join(f" {hint}" for hint in hints[:_SHOWN])
        raise UserError(f"{title} has {count(len(categories), 'class folder')} with pictures, but {_LAYOUT}.{more}")
    if len(categories) > MAX_CLASSES:
        raise UserError(f"{title} has {count(len(categories), 'class folder')}; at most {MAX_CLASSES} are possible.")


def _describe_splits(splits: Mapping[str, str], members: Sequence[Member]) -> Iterator[str]:
    if not splits:
        return
    classes = defaultdict(set)
    for member in members:
        classes[member.part].add(member.category)
    folders = {part: join_words([folder for folder in splits if splits[folder] == part]) for part in classes}
    kept = [f"{folders[part]} for {_PURPOSES[part]}" for part in PARTS if part in classes]
    names = sorted(splits, key=lambda folder: PARTS.index(splits[folder]))
    yield f"{join_words(names)} are the parts of this data set, not classes: {', '.join(kept)}."
    for part in classes:
        if missing := sorted(set().union(*classes.values()) - classes[part]):
            yield f"{folders[part]} has no pictures of {join_words(missing)}."


def _warn_of_nesting(members: Sequence[Member]) -> Iterator[str]:
    """Says if folders of pictures are inside of what was taken for a class: perhaps they are the classes."""
    inner, has_pictures = defaultdict(set), set()
    for member in members:
        rest = member.name.relative_to(member.folder).parts
        if len(rest) > 1 and simplify(rest[0]) not in PART_NAMES:
            inner[member.category].add(rest[0])
        else:
            has_pictures.add(member.category)
    nested = sorted(category for category in inner.keys() - has_pictures if len(inner[category]) > 1)
    if not nested:
        return
    folders = join_words(sorted(set().union(*(inner[category] for category in nested))))
    beside = (
        f", but {join_words(sorted(has_pictures))} {agree(len(has_pictures), 'hold')} pictures"
        if has_pictures
        else ""
    )
    yield (
        f"{join_words(nested)} {agree(len(nested), 'hold')} folders of pictures ({folders}){beside}; each was taken "
        "for one class. If the folders inside are the classes, put them side by side."
    )


def _warn_of_spellings(categories: Iterable[str]) -> Iterator[str]:
    spellings = defaultdict(list)
    for category in sorted(categories):
        spellings[simplify(category)].append(repr(category))
    for names in spellings.values():
        if len(names) > 1:
            yield (
                f"The classes {join_words(names)} differ only in how they are written; if they are one class, give "
                "their folders one name."
            )


def join_words(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"; of many the first."""
    if len(words) > _NAMED:
        words = [*words[:_NAMED], f"{len(words) - _NAMED} more"]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
