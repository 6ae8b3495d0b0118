"""The files of a run directory: replaced in one step or added to, and read by those who watch while they grow."""

import json
import math
import os
import stat
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

MAX_CACHED_FILES = 32
MAX_NUMBER = 10**300


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces a file in one step."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    finally:  # on a full disk, half a file must not keep the next one from being written
        scratch.unlink(missing_ok=True)


def write_json(path: Path, values: dict) -> None:
    """Replaces a JSON file in one step."""
    write_bytes(path, json.dumps(values, indent=1, allow_nan=False).encode())


def append_line(path: Path, values: dict) -> None:
    """Adds one object to a JSON Lines file; half a line at its end, left by a crash, spoils no other."""
    line = json.dumps(values, allow_nan=False).encode() + b"\n"
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                line = b"\n" + line
        file.write(line)


def is_ordinary(path: Path) -> bool:
    """Whether this is a file that can be read to its end: not a folder, and no pipe, which would make one wait."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def read_lines(path: Path, max_bytes: int = -1) -> list[dict]:
    """The objects of a JSON Lines file, or of its first bytes, oldest first and without broken ones."""
    try:
        with path.open("rb") as file:
            return _parse(file.read(max_bytes))
    except OSError:
        return []


def read_start(path: Path, max_bytes: int) -> bytes:
    """The first bytes of a file; none if it is no ordinary file or cannot be read."""
    try:
        if not is_ordinary(path):
            return b""
        with path.open("rb") as file:
            return file.read(max_bytes)
    except OSError:
        return b""


def read_end(path: Path, max_bytes: int) -> bytes:
    """The last bytes of a file; none if it is no ordinary file or cannot be read."""
    try:
        if not is_ordinary(path):
            return b""
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - max_bytes))
            return file.read(max_bytes)
    except OSError:
        return b""


class GrowingLines:
    """Reads JSON Lines files that grow while they are watched: each look parses only what was added since.

    Of a file longer than ``max_bytes`` only the end is kept, at least the last half of that. Numbers that are
    not finite make a line a broken one.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self._seen: OrderedDict[Path, _Seen] = OrderedDict()
        self._guard = threading.Lock()

    def read(self, path: Path) -> list[dict]:
        """The objects of the file as it is now, oldest first; the list is new, its objects are shared."""
        with self._guard:
            try:
                if not is_ordinary(path):
                    raise FileNotFoundError(path)
                with path.open("rb") as file:
                    seen = self._follow(path, os.fstat(file.fileno()))
                    file.seek(seen.end)
                    # The last line may be half written: it is read again at the next look.
                    whole, newline, rest = file.read(self.max_bytes).rpartition(b"\n")
            except OSError:
                self._seen.pop(path, None)
                return []
            seen.objects += _parse(whole)
            seen.end += len(whole) + len(newline)
            return seen.objects + _parse(rest)

    def _follow(self, path: Path, now: os.stat_result) -> "_Seen":
        """What is known of this file; nothing if it is another one by now, or has become too long."""
        seen = self._seen.get(path)
        if seen is None or seen.inode != now.st_ino or now.st_size < seen.end:
            start = max(0, now.st_size - self.max_bytes)
            seen = _Seen(now.st_ino, start, start)
        elif now.st_size - seen.start > self.max_bytes:
            start = now.st_size - self.max_bytes // 2
            seen = _Seen(now.st_ino, start, start)
        self._seen[path] = seen
        self._seen.move_to_end(path)
        while len(self._seen) > MAX_CACHED_FILES:
            self._seen.popitem(last=False)
        return seen


@dataclass
class _Seen:
    """The part of a file from ``start`` to ``end`` as objects."""

    inode: int
    start: int
    end: int
    objects: list[dict] = field(default_factory=list)


def _parse(data: bytes) -> list[dict]:
    objects = []
    for line in data.split(b"\n"):
        try:
            values = json.loads(line, parse_float=_finite, parse_int=_bounded, parse_constant=_refuse)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            objects.append(values)
    return objects


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _bounded(text: str) -> int:
    value = int(text)
    return value if abs(value) < MAX_NUMBER else _refuse(text)


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not a finite number")
