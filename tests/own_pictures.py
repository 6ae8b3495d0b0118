"""Folders and zips of small pictures."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def png(color=(200, 30, 30), size=(20, 12)) -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def noise(seed: int, kind: str = "PNG") -> bytes:
    """A picture that looks like no other."""
    coarse = np.random.default_rng(seed).integers(256, size=(6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((24, 24), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def pictures(*folders: str, count: int = 6, suffix: str = ".png", kind: str = "PNG") -> dict[str, bytes]:
    """``count`` pictures in each folder, all different: name -> content."""
    names = [f"{folder}/{number}{suffix}" for folder in folders for number in range(count)]
    return {name: noise(sum(name.encode()) * 31 + number, kind) for number, name in enumerate(names)}


def two_classes(top: str = "", count: int = 5) -> dict[str, bytes]:
    """Red cats and blue dogs."""
    return {
        f"{top}{name}/{i}.png": png(color)
        for name, color in (("cats", (250, 0, 0)), ("dogs", (0, 0, 250)))
        for i in range(count)
    }


def make_zip(path: Path, files: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> Path:
    """A zip at ``path``."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def make_raw_zip(path: Path, files: dict[bytes, bytes]) -> Path:
    """A zip whose names are these bytes, without a word about their encoding."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(RawInfo(name), data)
    return path


class RawInfo(zipfile.ZipInfo):
    """A member whose name is written as these bytes."""

    def __init__(self, raw: bytes):
        super().__init__(raw.decode("cp437"))
        self.raw = raw

    def _encodeFilenameFlags(self):
        return self.raw, self.flag_bits


def make_folder(path: Path, files: dict[str, bytes]) -> Path:
    """A folder at ``path``."""
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


MAKERS = {"zip": lambda path, files: make_zip(path / "pets.zip", files), "folder": make_folder}
