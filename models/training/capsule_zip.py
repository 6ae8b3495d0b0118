"""Zips whose files have fixed names: written the same way each time, read without believing anything they say."""

import os
import struct
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

from analysis.errors import UserError, explained
from models.data.zips import find_obstacle, open_zip, read_member

MAX_DIRECTORY_BYTES = 64 * 2**10
"""Of the table of contents at the end of a zip, which is read as a whole before anything else."""
_END, _END_BYTES = b"PK\x05\x06", 22
"""How the last record of a zip begins, and its size without a comment."""
_DATE = (1980, 1, 1, 0, 0, 0)


def add_member(archive: zipfile.ZipFile, name: str, data: bytes, max_bytes: int) -> None:
    """Adds a file with a fixed date; weights are only stored, because they do not get smaller.

    Raises:
        UserError: It is too large.
    """
    if len(data) > max_bytes:
        raise UserError(f"{name} has more than {max_bytes // 2**20} MB, which is too much for a capsule.")
    entry = zipfile.ZipInfo(name, _DATE)
    entry.create_system, entry.external_attr = 3, 0o100644 << 16
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)


def extract_members(
    zip_path: Path, folder: Path, limits: Mapping[str, int], required: Collection[str], ignored: Collection[str]
) -> None:
    """Copies the files of a zip into an empty folder.

    Args:
        zip_path: May come from anyone.
        folder: Gets the files of these names, and no other.
        limits: Name -> how many bytes may come out.
        required: Names that must be there.
        ignored: Names that may be there and are not copied.

    Raises:
        UserError: Not a zip, damaged, encrypted, or with other files than these.
        OSError: The folder cannot be written to.
    """
    title = zip_path.name
    _check_directory_size(zip_path)
    with open_zip(zip_path) as archive:
        members = archive.infolist()
        _check_members(members, title, {*limits, *ignored}, required)
        for member in members:
            if member.filename in limits:
                _copy(archive, member, folder / member.filename, limits[member.filename], title)


def _check_directory_size(zip_path: Path) -> None:
    """Refuses a huge table of contents, of which zipfile would make an object for each line."""
    title = zip_path.name
    with explained(f"{title} cannot be read"), zip_path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2**16 - 42))
        tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) < end + _END_BYTES:
        raise UserError(f"{title} is not a zip file, or it is damaged.")
    (directory_bytes,) = struct.unpack_from("<L", tail, end + 12)
    # The marker of the format for huge zips, which has another place for the size.
    if directory_bytes > MAX_DIRECTORY_BYTES or tail[max(0, end - 20) : end].startswith(b"PK\x06\x07"):
        raise UserError(f"{title} is not a capsule: it lists more files than a capsule has.")


def _check_members(
    members: list[zipfile.ZipInfo], title: str, allowed: Collection[str], required: Collection[str]
) -> None:
    names = [member.filename for member in members]
    for member in members:
        shown = repr(member.filename[:80])
        if member.filename not in allowed:
            raise UserError(f"{title} is not a capsule, or it was changed: no capsule has a file {shown}.")
        words = {
            "link": f"is no safe capsule: {shown} is a symbolic link.",
            "encrypted": "is encrypted; capsules are not.",
            "compression": "is not a capsule: it uses an unusual compression.",
        }
        if obstacle := find_obstacle(member):
            raise UserError(f"{title} {words[obstacle]}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{title} is no safe capsule: it has the file {twice[0]} twice.")
    missing = [name for name in required if name not in names]
    if missing:
        raise UserError(f"{title} is not a capsule: it has no {missing[0]}.")


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, limit: int, title: str) -> None:
    size, damaged = 0, UserError(f"{member.filename} is damaged inside {title}.")
    with path.open("wb") as copy:
        for data in read_member(archive, member, damaged):
            size += len(data)
            if size > limit:
                raise UserError(f"{member.filename} in {title} has more than {limit // 2**20} MB, as no capsule's.")
            copy.write(data)
