"""Names of files and folders that anybody can read: no lone surrogates, no control characters, letters composed.

On Linux a name is bytes. Those that are not UTF-8 reach Python as lone surrogates, which no encoder of JSON and no
terminal takes. Here they become text; files are opened under their real names all the same.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from analysis.errors import UserError
from models.encodings import LANGUAGES, choose_encoding, choose_encodings, decode_name

_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, also those that turn the direction of what follows, and lone surrogates."""


def read_names(names: Iterable[str | bytes]) -> tuple[dict[str | bytes, str], str | None]:
    """Readable text for the names of one place, and the encoding that was found for those that are not UTF-8.

    Args:
        names: As the system gives them, or as bytes.
    """
    raw = {name: _encode(name) for name in names}
    encoding = choose_encoding(set(raw.values()))
    return {name: compose(decode_name(data, encoding)) for name, data in raw.items()}, encoding


def make_readable(name: str | os.PathLike) -> str:
    """One name or path as text that can be shown, sent and stored."""
    parts = os.fspath(name).split("/")
    found, _ = read_names(parts)
    return "/".join(found[part] for part in parts)


def compose(name: str) -> str:
    """Letters and their accents, or the parts of a Hangul syllable, as one (NFC); U+FFFD for what cannot be shown."""
    return _UNSHOWN.sub("\ufffd", unicodedata.normalize("NFC", name))


def simplify(name: str) -> str:
    """What two spellings of one name have in common: without case, width of letters, dashes or underscores."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return re.sub(r"[\s_-]+", " ", folded).strip()


def number_twins(names: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """The same names, with a number behind those that were there before: "a/b.png" and "a/b (2).png"."""
    seen: Counter[PurePosixPath] = Counter()
    numbered = []
    for name in names:
        other = name
        while seen[other]:
            other = name.with_name(f"{name.stem} ({seen[name] + 1}){name.suffix}")
            seen[name] += 1
        seen[other] += 1
        numbered.append(other)
    return numbered


def describe_encoding(title: str, encoding: str | None) -> tuple[str, ...]:
    """Says as what names were read that are not UTF-8, so that a wrong guess can be seen."""
    if encoding is None:
        return ()
    return (f"File names of {title} that are not UTF-8 were read as {LANGUAGES[encoding]} ({encoding}).",)


def describe_skipped(skipped: Sequence[str]) -> str:
    """How many files were left out, and why the first: a sentence for a list of "file: reason"."""
    if not skipped:
        return ""
    name, _, reason = skipped[0].partition(": ")
    reason = reason.removeprefix(f"{PurePosixPath(name).name} ").rstrip(".")
    if len(skipped) == 1:
        return f"1 file was left out; it {reason}: {name}."
    return f"{len(skipped)} files were left out; the first, {name}, {reason}."


def refuse_lookalikes(title: str, folders: Iterable[tuple[PurePosixPath, Hashable]]) -> None:
    """Raises UserError for two folders whose names cannot be read and now look the same.

    Args:
        folders: Readable and real name of each.
    """
    real: dict[PurePosixPath, Hashable] = {}
    for shown, name in folders:
        if "\ufffd" in str(shown) and real.setdefault(shown, name) != name:
            raise UserError(f"{title} has two folders whose names are both read as {str(shown)!r}; rename them.")


def list_readable(folder: str | os.PathLike) -> dict[str, str]:
    """Real name -> readable name of everything in a folder, no two the same; each may be in its own encoding.

    Raises:
        OSError: It cannot be looked into.
    """
    raw = {path.name: _encode(path.name) for path in Path(folder).iterdir()}
    encodings = choose_encodings(raw.values())
    readable = {name: compose(decode_name(data, encodings[data])) for name, data in raw.items()}
    real = sorted(raw, key=lambda name: (readable[name] != name, raw[name]))  # who has a name already keeps it
    shown = number_twins(PurePosixPath(readable[name]) for name in real)
    return {name: str(other) for name, other in zip(real, shown, strict=True)}


def readable_path(path: str | os.PathLike) -> str:
    """A path as text that can be shown and stored; :func:`find_path` finds the file again."""
    path = Path(path)
    if not _UNSHOWN.search(str(path)):
        return str(path)
    name = path.name
    if _UNSHOWN.search(name):
        try:
            name = list_readable(path.parent).get(name, make_readable(name))
        except (OSError, ValueError):
            name = make_readable(name)
    return str(Path(readable_path(path.parent), name)) if path.parent != path else make_readable(path)


def find_path(path: str | os.PathLike) -> Path:
    """The real path of a readable one; what is not there yet keeps its name."""
    path = Path(path)
    if os.path.lexists(path) or path.parent == path:
        return path
    parent = find_path(path.parent)
    try:
        found = [real for real, shown in list_readable(parent).items() if shown == compose(path.name)]
    except (OSError, ValueError):
        found = []
    return parent / (found[0] if found else path.name)


def _encode(name: str | bytes) -> bytes:
    if isinstance(name, bytes):
        return name
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:  # surrogates that are no bytes of a name
        return _UNSHOWN.sub("\ufffd", name).encode()
