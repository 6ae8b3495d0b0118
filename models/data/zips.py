"""A zip that may come from anyone, as files under readable names.

Nothing is extracted under a name of its choosing, what its headers claim is never believed, and every limit is
checked against the bytes and pixels that really come out.
"""

import itertools
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal

from analysis.errors import UserError
from models.data.class_layout import check_file_count
from models.data.decoding.formats import HEAD_BYTES, ImageError
from models.data.images import count_pixels
from models.data.system_files import is_system_file
from models.names import compose, describe_encoding, make_readable, number_twins, read_names, refuse_lookalikes

MAX_NAME_LENGTH = 300
MAX_MEMBER_BYTES = 32 * 2**20
MAX_TOTAL_BYTES = 4 * 2**30
MAX_TOTAL_PIXELS = 20 * 10**9
"""As many as 4 GB of ordinary photographs have."""
FREE_PIXELS, PIXELS_PER_BYTE = 500_000_000, 200
"""Pixels that any zip may have, and further ones for each of its bytes: drawings in few colours have about 100."""
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
_UTF8_FLAG, _ENCRYPTED = 0x800, 0x1
_UNICODE_PATH = 0x7075


class ZipSource:
    """The files of a zip, unpacked when they are opened; what all of them may take together is bounded.

    Args:
        scratch: An empty folder.

    Attributes:
        files: Readable name -> what is opened.
        folders: Readable names of those folders that have an entry of their own.
        problems: Always empty.
    """

    def __init__(self, archive: zipfile.ZipFile, path: Path, scratch: Path):
        self.archive, self.title, self.scratch = archive, make_readable(path.name), scratch
        self.bytes_left = MAX_TOTAL_BYTES
        self.pixels_left = min(MAX_TOTAL_PIXELS, FREE_PIXELS + PIXELS_PER_BYTE * path.stat().st_size)
        self.counted: set[PurePosixPath] = set()
        # Two files open at once may have the same name, so each has a folder; making them anew would be slow.
        self.new_folders = (scratch / str(number) for number in itertools.count())
        self.free_folders: list[Path] = []
        self.problems: dict[PurePosixPath, str] = {}
        self.files, self.folders = self._read_names()

    def _read_names(self) -> tuple[dict[PurePosixPath, zipfile.ZipInfo], set[PurePosixPath]]:
        members = {member.orig_filename: member for member in self.archive.infolist()}.values()
        texts, encoding = _decode_names(members)
        self.notes = describe_encoding(self.title, encoding)
        files, folders = [], set()
        for member, text in zip(members, texts, strict=True):
            name = self._check_name(member, text)
            if not name.parts or is_system_file(name):
                continue
            if text.endswith(("/", "\\")):
                folders.add(name)
            else:
                self._check_member(member, name)
                files.append((name, member))
        check_file_count(self.title, len(files))
        refuse_lookalikes(self.title, ((name.parent, PurePosixPath(m.orig_filename).parent) for name, m in files))
        names = number_twins(name for name, _ in files)
        return {name: member for name, (_, member) in zip(names, files, strict=True)}, folders

    def _check_name(self, member: zipfile.ZipInfo, text: str) -> PurePosixPath:
        """The name with one kind of separator; UserError if it leads anywhere but into the zip."""
        name = text.replace("\\", "/")
        path = PurePosixPath(compose(name))
        is_drive = bool(path.parts and re.fullmatch("[A-Za-z]:", path.parts[0]))
        if name.startswith("/") or ".." in path.parts or is_drive or "\0" in member.orig_filename:
            raise UserError(f"{self.title} has a file with the unsafe name {_show(path)}; pack the folder again.")
        if len(name) > MAX_NAME_LENGTH:
            raise UserError(
                f"{self.title} has a file name of {len(name)} characters; at most {MAX_NAME_LENGTH} are possible."
            )
        return path

    def _check_member(self, member: zipfile.ZipInfo, name: PurePosixPath) -> None:
        words = {
            "link": f"has the symbolic link {_show(name)}; pack the pictures themselves.",
            "encrypted": "is encrypted; pack it without a password.",
            "compression": "uses an unusual compression; pack it as an ordinary zip.",
        }
        if obstacle := find_obstacle(member):
            raise UserError(f"{self.title} {words[obstacle]}")

    def read_head(self, name: PurePosixPath) -> bytes:
        """How a file begins; ImageError if it is damaged."""
        return next(self._chunks(name, HEAD_BYTES), b"")

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
            if is_new:
                self._check_pixels(local)
            yield local
        finally:
            local.unlink(missing_ok=True)
            self.free_folders.append(folder)

    def _chunks(self, name: PurePosixPath, num_bytes: int = _COPY_BYTES) -> Iterator[bytes]:
        damaged = ImageError(f"{name.name} is damaged inside the zip.")
        yield from read_member(self.archive, self.files[name], damaged, num_bytes)

    def _check_size(self, name: PurePosixPath, size: int, added: int) -> None:
        self.bytes_left -= added
        if size > MAX_MEMBER_BYTES:
            raise ImageError(f"{name.name} has more than {MAX_MEMBER_BYTES // 2**20} MB.")
        if self.bytes_left < 0:
            limit = MAX_TOTAL_BYTES / 2**30
            raise UserError(f"{self.title} unpacks to more than {limit:g} GB; use fewer pictures.")

    def _check_pixels(self, local: Path) -> None:
        try:
            self.pixels_left -= count_pixels(local)
        except ImageError:
            return  # whoever decodes it says what is wrong with it
        if self.pixels_left < 0:
            raise UserError(
                f"The pictures in {self.title} have far more pixels than a zip of its size may have; reduce them."
            )


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip file for reading; UserError if it is none."""
    try:
        archive = zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        raise UserError(f"{make_readable(path.name)} is not a zip file, or it is damaged.") from error
    with archive:
        yield archive


def find_obstacle(member: zipfile.ZipInfo) -> Literal["link", "encrypted", "compression"] | None:
    """Why a member cannot be read, or not without risk."""
    if stat.S_ISLNK(member.external_attr >> 16):
        return "link"
    if member.flag_bits & _ENCRYPTED:
        return "encrypted"
    # The decoders of other methods cannot be told to stop after so many bytes.
    return None if member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else "compression"


def read_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, damaged: Exception, num_bytes: int = _COPY_BYTES
) -> Iterator[bytes]:
    """A member in pieces of so many bytes; raises ``damaged`` where it cannot be read to its end."""
    try:
        with archive.open(member) as file:
            while data := file.read(num_bytes):
                yield data
    except ZIP_ERRORS as error:
        raise damaged from error


def _decode_names(members) -> tuple[list[str], str | None]:
    """The name of each member as text, and the encoding found for those that say nothing and are not UTF-8."""
    known = [_find_unicode_name(member) for member in members]
    raw = [member.orig_filename.encode("cp437") for member, name in zip(members, known, strict=True) if name is None]
    parts = {part for name in raw for part in name.split(b"/")}
    found, encoding = read_names(parts)
    decoded = ("/".join(found[part] for part in name.split(b"/")) for name in raw)
    return [next(decoded) if name is None else name for name in known], encoding


def _find_unicode_name(member: zipfile.ZipInfo) -> str | None:
    """The name where the zip says in which encoding it is: by its flag, or in the Unicode Path Extra Field."""
    if member.flag_bits & _UTF8_FLAG or member.orig_filename.isascii():
        return member.orig_filename
    extra = member.extra
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        data, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH and len(data) > 5 and data[0] == 1:
            (checksum,) = struct.unpack("<I", data[1:5])
            if checksum == zlib.crc32(member.orig_filename.encode("cp437")):
                return data[5:].decode("utf-8", "replace")
    return None


def _show(name: PurePosixPath) -> str:
    return repr(str(name)[:100])
