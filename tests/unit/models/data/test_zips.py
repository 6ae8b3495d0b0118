"""Zips of every origin: names in any encoding, and such as try to do harm."""

import io
import stat
import struct
import tracemalloc
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from analysis.errors import UserError
from models.data import class_layout, crops, zips
from models.data.folders import load_folder, open_source
from tests.own_pictures import RawInfo, make_raw_zip, make_zip, png, two_classes
from tests.sentences import refused


def test_very_long_names_are_refused(tmp_path):
    files = two_classes() | {"cats/" + "x" * 400 + ".txt": b"x"}
    with refused("409"):
        load_folder(make_zip(tmp_path / "pets.zip", files), image_size=8)


def test_missing_and_corrupt_zip(tmp_path):
    with refused():
        load_folder(tmp_path / "none", image_size=8)
    path = make_zip(tmp_path / "pets.zip", two_classes())
    for data in (b"", b"no zip", path.read_bytes()[:-30]):
        (tmp_path / "bad.zip").write_bytes(data)
        with refused("bad.zip"):
            load_folder(tmp_path / "bad.zip", image_size=8)


@pytest.mark.parametrize(
    "name", ["../cats/evil.png", "/tmp/evil.png", "cats/../../evil.png", "cats\\..\\evil.png", "C:/cats/evil.png"]
)
def test_names_that_escape_are_refused(tmp_path, name):
    path = make_zip(tmp_path / "pets.zip", two_classes() | {name: png()})
    with refused():
        load_folder(path, image_size=8)
    assert not list(tmp_path.parent.rglob("evil.png"))


def test_symbolic_links_are_refused(tmp_path):
    path = make_zip(tmp_path / "pets.zip", two_classes())
    link = zipfile.ZipInfo("cats/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with refused():
        load_folder(path, image_size=8)


def patch_central_directory(path: Path, offset: int, value: bytes) -> None:
    """Overwrites the same field of every central directory record."""
    data, at = bytearray(path.read_bytes()), -1
    while (at := data.find(b"PK\x01\x02", at + 1)) >= 0:
        data[at + offset : at + offset + len(value)] = value
    path.write_bytes(data)


def test_encrypted(tmp_path):
    path = make_zip(tmp_path / "pets.zip", two_classes())
    patch_central_directory(path, 8, struct.pack("<H", 1))
    with refused():
        load_folder(path, image_size=8)


def test_compression_that_cannot_be_bounded(tmp_path):
    path = make_zip(tmp_path / "pets.zip", two_classes(), zipfile.ZIP_LZMA)
    with refused():
        load_folder(path, image_size=8)


def test_bombs_are_stopped_by_what_comes_out(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "MAX_MEMBER_BYTES", 2**20)
    files = two_classes() | {"cats/bomb.png": png() + bytes(8 * 2**20)}
    path = make_zip(tmp_path / "pets.zip", files)
    assert path.stat().st_size < 2**20
    loaded = load_folder(path, image_size=8)
    assert loaded.skipped == ("cats/bomb.png: bomb.png has more than 1 MB.",)
    monkeypatch.setattr(zips, "MAX_MEMBER_BYTES", 2**30)
    monkeypatch.setattr(zips, "MAX_TOTAL_BYTES", 2**20)
    with refused():
        load_folder(path, image_size=8)


@pytest.mark.parametrize("claimed", [0, 10, 2**31])
def test_headers_that_lie_about_the_size(tmp_path, claimed):
    """Whatever size is claimed, no more than the limits is read and nothing crashes."""
    path = make_zip(tmp_path / "pets.zip", two_classes() | {"cats/bomb.png": bytes(4 * 2**20)})
    patch_central_directory(path, 24, struct.pack("<I", claimed))
    try:
        loaded = load_folder(path, image_size=8)
    except UserError:
        return
    assert any(line.startswith("cats/bomb.png") for line in loaded.skipped)


def test_damage_inside_one_member(tmp_path):
    path = make_zip(tmp_path / "pets.zip", two_classes(count=6), zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.find(b"IDAT") + 6] ^= 0xFF
    path.write_bytes(data)
    loaded = load_folder(path, image_size=8)
    assert loaded.skipped == ("cats/0.png: 0.png is damaged inside the zip.",)


def test_files_of_the_same_name_are_told_apart_in_a_zip(tmp_path):
    files = {f"{c}/{i}/x.png": png((i, n, 0)) for n, c in enumerate(("cats", "dogs")) for i in range(40)}
    loaded = load_folder(make_zip(tmp_path / "pets.zip", files), image_size=8)
    assert loaded.names == tuple(sorted(files, key=lambda name: PurePosixPath(name)))
    pixels = loaded.images[:, :2, 4, 4].tolist()
    assert pixels == [[int(name.split("/")[1]), int(name.startswith("dogs"))] for name in loaded.names]


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp949", ("강아지", "고양이")),
        ("utf-8", ("강아지", "고양이")),  # as macOS packs: UTF-8, decomposed, without saying so
        ("cp932", ("表の犬", "ソファー猫")),
        ("cp850", ("Käfer", "Vögel")),
        ("cp866", ("кошки", "собаки")),
    ],
)
def test_names_that_do_not_say_their_encoding(tmp_path, encoding, words):
    form = "NFD" if encoding == "utf-8" else "NFC"
    files = {
        f"{unicodedata.normalize(form, word)}/{number}.png".encode(encoding): png((number, 0, 0))
        for word in words
        for number in range(5)
    }
    loaded = load_folder(make_raw_zip(tmp_path / "pets.zip", files), image_size=8)
    assert loaded.categories == tuple(sorted(words)) and len(loaded.images) == 10 and loaded.skipped == ()
    assert loaded.names[0] == f"{sorted(words)[0]}/0.png"
    assert [encoding in note for note in loaded.notes] == ([] if encoding == "utf-8" else [True])


def test_a_zip_may_say_its_names_in_an_extra_field(tmp_path):
    """The Unicode Path Extra Field counts where its checksum is that of the name."""
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for word, is_right in (("고양이", True), ("강아지", False)):
            for number in range(5):
                raw = f"{word}/{number}.png".encode("cp949")
                member = RawInfo(raw)
                text = f"{word if is_right else 'no'}/{number}.png".encode()
                checksum = zlib.crc32(raw) ^ (not is_right)
                member.extra = struct.pack("<HHBI", 0x7075, 5 + len(text), 1, checksum) + text
                archive.writestr(member, png((number, 0, 0)))
    assert load_folder(tmp_path / "pets.zip", image_size=8).categories == ("강아지", "고양이")


@pytest.mark.parametrize("top", ["", "pets\\"])
def test_backslashes_separate_folders(tmp_path, top):
    files = {name.replace("/", "\\"): data for name, data in two_classes(top.replace("\\", "/")).items()}
    loaded = load_folder(make_zip(tmp_path / "pets.zip", files | {f"{top}owls\\": b""}), image_size=8)
    assert loaded.categories == ("cats", "dogs") and len(loaded.images) == 10
    assert "owls was left out" in loaded.notes[0]


@pytest.mark.parametrize("name", ["time 10:30/{}.png", "a: first/{}.png", "AB:/{}.png"])
def test_a_colon_in_a_name_is_harmless(tmp_path, name):
    files = two_classes() | {name.format(number): png() for number in range(5)}
    loaded = load_folder(make_zip(tmp_path / "pets.zip", files), image_size=8)
    assert name.partition("/")[0] in loaded.categories


@pytest.mark.parametrize("name", ["", ".", "./", "/"])
def test_members_without_a_name(tmp_path, name):
    files = {own.encode(): data for own, data in two_classes().items()}
    path = make_raw_zip(tmp_path / "pets.zip", files | {name.encode(): b""})
    if name == "/":
        with refused():
            load_folder(path, image_size=8)
        return
    loaded = load_folder(path, image_size=8)
    assert loaded.categories == ("cats", "dogs") and len(loaded.images) == 10 and loaded.skipped == ()


def test_what_systems_add_counts_for_no_limit(tmp_path, monkeypatch):
    files = two_classes()
    added = [f"__MACOSX/{name.replace('/', '/._')}" for name in files] + [name.replace("/", "/._") for name in files]
    added += ["cats/Thumbs.db", "dogs/desktop.ini", "cats/Icon\r", ".DS_Store"]
    monkeypatch.setattr(class_layout, "MAX_FILES", 10)
    path = make_zip(tmp_path / "pets.zip", files | dict.fromkeys(added, b"x"))
    loaded = load_folder(path, image_size=8)
    assert len(loaded.images) == 10 and loaded.skipped == () and loaded.notes == ()


@pytest.mark.parametrize("inner", ["birds.zip", "birds/all.zip"])
def test_a_zip_in_the_zip_is_named(tmp_path, inner):
    packed = make_zip(tmp_path / "inner.zip", two_classes()).read_bytes()
    loaded = load_folder(make_zip(tmp_path / "pets.zip", two_classes() | {inner: packed}), image_size=8)
    assert loaded.skipped == (f"{inner}: is an archive; unpack it and use the folders in it.",)
    with refused("0"):
        load_folder(make_zip(tmp_path / "pets.zip", {inner: packed}), image_size=8)


def bomb(side: int) -> bytes:
    """A picture of few bytes and many pixels."""
    buffer = io.BytesIO()
    Image.new("L", (side, side)).save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def test_the_pixels_of_a_zip_are_bounded(tmp_path, monkeypatch):
    """By what the pictures say of themselves: those that are too many are not decoded."""
    monkeypatch.setattr(zips, "FREE_PIXELS", 4_000_000)
    monkeypatch.setattr(crops, "_SMALL_BYTES", 0)  # all in threads
    decoded = []
    monkeypatch.setattr(
        crops, "read_square", lambda path, side, **rest: decoded.append(path) or np.zeros((3, side, side))
    )
    files = {f"{name}/{number}.png": bomb(1000) for name in ("a", "b") for number in range(10)}
    path = make_zip(tmp_path / "bomb.zip", files)
    assert path.stat().st_size < 20_000
    with refused("bomb.zip"):
        load_folder(path, image_size=8)
    assert len(decoded) <= 8
    few = make_zip(tmp_path / "few.zip", {name: data for name, data in files.items() if int(name[2]) < 2})
    with refused("5"):  # all four were read
        load_folder(few, image_size=8)
    monkeypatch.setattr(zips, "PIXELS_PER_BYTE", 20_000_000 / path.stat().st_size)
    assert len(load_folder(path, image_size=8).images) == 20
    monkeypatch.setattr(zips, "MAX_TOTAL_PIXELS", 10_000_000)
    with refused():
        load_folder(path, image_size=8)


def test_counting_pixels_reads_no_metadata(tmp_path):
    """The tags of this TIFF are 60 times the same megabyte, which Pillow would read as often."""
    size, tags = 2**20, {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 8, 278: 4, 279: 16}
    entries = [struct.pack("<HHII", tag, 4, 1, number) for tag, number in tags.items()]
    entries += [struct.pack("<HHII", 40000 + number, 7, size, 8) for number in range(60)]
    tiff = struct.pack("<2sHI", b"II", 42, 8 + size) + bytes(size)
    tiff += struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    path = make_zip(tmp_path / "tags.zip", two_classes() | {"cats/x.tif": tiff})
    tracemalloc.start()
    assert len(load_folder(path, image_size=8).images) == 11
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * size


def test_a_picture_opened_again_is_counted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "FREE_PIXELS", 11 * 20 * 12)
    monkeypatch.setattr(zips, "PIXELS_PER_BYTE", 0)
    with open_source(make_zip(tmp_path / "pets.zip", two_classes())) as source:
        for _ in range(3):
            for name in source.files:
                with source.open(name):
                    pass
        assert source.pixels_left == 20 * 12
