"""The files of a run directory: replaced in one step or added to, and read by those who watch while they grow."""

import errno
import json
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from models.ordinary_files import open_ordinary, parse_json, read_start

MAX_CACHED_FILES = 32
MAX_LINES_BYTES = 2**28
"""Of a JSON Lines file that is read as a whole: far more than any job writes."""
PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds before each further try to write."""
PASSING = {errno.ESTALE, errno.EBUSY, errno.EAGAIN, errno.EIO, errno.ETIMEDOUT}
"""Errors that end by themselves: of a network file system, or of a program that looks at every new file."""
if sys.platform == "win32":  # where somebody who reads a file keeps it from being replaced
    PASSING |= {errno.EACCES, errno.EPERM}

Result = TypeVar("Result")


def try_again(action: Callable[[], Result]) -> Result:
    """What the action returns; where it fails for a reason that may pass, it is done again, for up to a second.

    Raises:
        OSError: It fails for another reason, or still does.
    """
    for pause in PAUSES:
        try:
            return action()
        except OSError as error:
            if error.errno not in PASSING:
                raise
        time.sleep(pause)
    return action()


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces a file in one step."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")

    def replace() -> None:
        scratch.write_bytes(data)
        scratch.replace(path)

    try:
        try_again(replace)
    finally:  # on a full disk, half a file must not keep the next one from being written
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def write_json(path: Path, values: dict) -> None:
    """Replaces a JSON file in one step."""
    write_bytes(path, json.dumps(values, indent=1, allow_nan=False).encode())


def overwrite_json(path: Path, values: dict) -> None:
    """Changes a JSON file in its place, which a full disk allows where it has blocks enough.

    Raises:
        OSError: It has not, or there is no such file.
    """
    data = json.dumps(values, indent=1, allow_nan=False).encode()
    with open_ordinary(path, os.O_RDWR, "rb+") as file:
        if len(data) > 512 * getattr(os.fstat(file.fileno()), "st_blocks", 0):  # half of it would be no JSON
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write(data)
        file.truncate()


def pack_lines(lines: Iterable[dict]) -> bytes:
    """Objects as a JSON Lines file has them; ValueError for a number that is not finite."""
    return b"".join(json.dumps(line, allow_nan=False).encode() + b"\n" for line in lines)


def append_line(path: Path, values: dict) -> None:
    """Adds one object to a JSON Lines file; half a line at its end, left by a crash, spoils no other."""
    line = pack_lines([values])
    with try_again(lambda: open_to_add(path, "ab+")) as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                line = b"\n" + line
        file.write(line)


def open_to_add(path: Path, mode: str = "ab") -> BinaryIO:
    """Opens a file to write at its end; makes it where there is none.

    Raises:
        OSError: It is no ordinary file, or the disk refuses.
    """
    access = os.O_RDWR if "+" in mode else os.O_WRONLY
    return open_ordinary(path, access | os.O_APPEND | os.O_CREAT, mode)


def read_lines(path: Path, max_bytes: int = MAX_LINES_BYTES) -> list[dict]:
    """The objects of a JSON Lines file, or of its first bytes, oldest first and without broken ones."""
    return _parse(read_start(path, max_bytes))


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
                with open_ordinary(path) as file:
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
            values = parse_json(line, refuse_number)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            objects.append(values)
    return objects


def refuse_number(text: str) -> object:
    """For ``parse_json``: raises ValueError, so that a number that is not finite spoils the whole."""
    raise ValueError(f"{text} is not a finite number")
