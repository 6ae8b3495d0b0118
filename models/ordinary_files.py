"""Reading files that may come from anyone: only ordinary ones, only so many bytes, only text that can be shown.

A pipe would make the reader wait for ever, a link would show what lies elsewhere, and half a character (a lone
surrogate, which JSON can hold) would end whatever is sent to a browser. Messages name a file by its last folder, not
by where it lies on this machine.
"""

import errno
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from analysis.errors import UserError, explained
from models.encodings import is_utf8

MAX_JSON_BYTES = 2**20
MAX_HEADER_BYTES = 2**20
MAX_NUMBER = 10**300
SETTINGS = "config.json"
"""Its texts may be paths, whose bytes need not be text: whoever works with them needs them as they are."""
READ_TRIES = 3
"""A file on a network may be replaced in the moment between finding and opening it."""
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"))
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def open_ordinary(path: Path, flags: int = os.O_RDONLY, mode: str = "rb") -> BinaryIO:
    """Opens a file unless it is something else: a folder, a pipe, a device, or a link to anywhere.

    Args:
        flags: Of ``os.open``.

    Raises:
        OSError: It is none, or cannot be opened.
    """
    for tries_left in reversed(range(READ_TRIES)):
        try:
            descriptor = os.open(path, flags | _FLAGS, 0o666)
            break
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise OSError(errno.ELOOP, "it is a link") from error
            if error.errno != errno.ESTALE or not tries_left:
                raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no ordinary file")
    file: Any = os.fdopen(descriptor, mode)  # whose type depends on the mode
    return file


def is_ordinary(path: Path) -> bool:
    """Whether this is a file that can be read to its end: not a folder, no link, and no pipe."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def short_name(path: Path) -> str:
    """A file's name with that of its run or folder, for messages that strangers see."""
    return "/".join(path.parts[-3:] if path.parent.name == "snapshots" else path.parts[-2:])


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """All bytes of a file of at most ``max_bytes``; of a larger one none is read.

    Raises:
        UserError: Missing, unreadable, no ordinary file, or too large.
    """
    with explained(f"{short_name(path)} cannot be read"), open_ordinary(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(size + 1) if size <= max_bytes else b""
    if max(size, len(data)) > max_bytes:
        raise UserError(f"{short_name(path)} is larger than {_megabytes(max_bytes)}, which no such file is.")
    return data


def read_start(path: Path, max_bytes: int) -> bytes:
    """The first bytes of a file; none if it is no ordinary file or cannot be read."""
    try:
        with open_ordinary(path) as file:
            return file.read(min(max_bytes, os.fstat(file.fileno()).st_size))
    except OSError:
        return b""


def read_end(path: Path, max_bytes: int) -> bytes:
    """The last bytes of a file; none if it is no ordinary file or cannot be read."""
    try:
        with open_ordinary(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - max_bytes))
            return file.read(max_bytes)
    except OSError:
        return b""


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES, *, is_mended: bool | None = None) -> dict:
    """A JSON object from a file of at most ``max_bytes``, as :func:`parse_json` reads it.

    Args:
        is_mended: Whether its texts are; by default those of all files but ``SETTINGS``.

    Raises:
        UserError: Missing, unreadable, no ordinary file, too large, or no JSON object.
    """
    data = read_bounded(path, max_bytes)
    try:
        values = parse_json(data, is_mended=path.name != SETTINGS if is_mended is None else is_mended)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{short_name(path)} is damaged: it is not valid JSON.") from error
    if not isinstance(values, dict):
        raise UserError(f"{short_name(path)} is damaged: it does not hold a JSON object.")
    return values


def parse_json(
    data: bytes, odd_number: Callable[[str], object] = lambda text: None, *, is_mended: bool = True
) -> object:
    """A JSON value whose texts are whole and whose numbers are finite.

    Args:
        odd_number: Given a number that is not finite, or larger than floats are; returns what takes its place.
        is_mended: Whether its texts go through :func:`mend`.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply.
    """

    def read_float(text: str) -> object:
        value = float(text)
        return value if math.isfinite(value) else odd_number(text)

    def read_int(text: str) -> object:
        value = int(text)
        return value if abs(value) < MAX_NUMBER else odd_number(text)

    text = data.decode(json.detect_encoding(data))
    values = json.loads(text, parse_float=read_float, parse_int=read_int, parse_constant=odd_number)
    return mend(values) if is_mended and _SURROGATE.search(text) else values


def mend(value: object) -> object:
    """The same JSON value, with U+FFFD in place of every half of a character: no browser and no file takes those."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list | tuple):
        return [mend(part) for part in value]
    if isinstance(value, dict):
        return {mend(name): mend(part) for name, part in value.items()}
    return value


@contextmanager
def open_tensors(path: Path, max_bytes: int, max_header_bytes: int = MAX_HEADER_BYTES) -> Iterator:
    """A safetensors file, opened as ``safe_open`` does, once it is known to be an ordinary file of bounded size.

    Raises:
        UserError: Missing, unreadable, too large, or no complete safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    damaged = UserError(f"{short_name(path)} is damaged: it is not a complete safetensors file.")
    with explained(f"{short_name(path)} cannot be read"), open_ordinary(path) as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise UserError(f"{short_name(path)} is larger than {_megabytes(max_bytes)}, which it cannot be.")
        # How long the table of contents is, of which the library makes an object for each tensor.
        if int.from_bytes(file.read(8), "little") > max_header_bytes:
            raise damaged
        name = path if is_utf8(os.fsencode(path)) else f"/proc/self/fd/{file.fileno()}"  # it takes no others
        try:
            with safe_open(name, framework="pt") as tensors:
                yield tensors
        except SafetensorError as error:
            raise damaged from error


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.3g} MB"
