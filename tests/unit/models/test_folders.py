"""Own pictures: layouts, broken pictures, and zips that try to do harm."""

import io
import stat
import struct
import threading
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from models import folders
from models.errors import ModelsError
from models.folders import hash_files, list_files, load_folder


def png(color=(200, 30, 30), size=(20, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def two_classes(top: str = "", count: int = 5) -> dict[str, bytes]:
    return {
        f"{top}{name}/{i}.png": png(color)
        for name, color in (("cats", (250, 0, 0)), ("dogs", (0, 0, 250)))
        for i in range(count)
    }


def make_zip(path: Path, files: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def make_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


MAKERS = {"zip": lambda path, files: make_zip(path / "pets.zip", files), "folder": make_folder}


@pytest.mark.parametrize("top", ["", "pets/", "a/b/"])
@pytest.mark.parametrize("kind", MAKERS)
def test_layouts(tmp_path, kind, top):
    extras = {"__MACOSX/cats/._1.png": b"x", f"{top}.DS_Store": b"x", f"{top}cats/.hidden.png": b"x"}
    loaded = load_folder(MAKERS[kind](tmp_path, two_classes(top) | extras), image_size=8)
    assert loaded.categories == ("cats", "dogs") and loaded.skipped == ()
    assert loaded.images.shape == (10, 3, 8, 8) and loaded.images.dtype == np.uint8
    assert loaded.labels.tolist() == [0] * 5 + [1] * 5
    assert (loaded.images[0, :, 4, 4] == (250, 0, 0)).all() and (loaded.images[9, :, 4, 4] == (0, 0, 250)).all()


@pytest.mark.parametrize("stray", ["README.txt", "pets/README.txt", "pets/labels.csv", "pets/cats/notes.txt"])
def test_stray_files_do_not_hide_the_outer_folder(tmp_path, stray):
    loaded = load_folder(make_zip(tmp_path / "pets.zip", two_classes("pets/") | {stray: b"x"}), image_size=8)
    assert loaded.categories == ("cats", "dogs")
    assert [line.split(":")[0] for line in loaded.skipped] == [stray]


def test_very_long_names_are_refused(tmp_path):
    files = two_classes() | {"cats/" + "x" * 400 + ".txt": b"x"}
    with pytest.raises(ModelsError, match="a file name of 409 characters"):
        load_folder(make_zip(tmp_path / "pets.zip", files), image_size=8)


def test_pictures_are_cropped_around_their_middle(tmp_path):
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 255
    buffer = io.BytesIO()
    Image.fromarray(wide).save(buffer, "PNG")
    loaded = load_folder(make_folder(tmp_path, two_classes() | {"cats/0.png": buffer.getvalue()}), image_size=10)
    assert loaded.images[0].min() == 255


@pytest.mark.parametrize("kind", MAKERS)
def test_broken_and_stray_files_are_listed_and_skipped(tmp_path, kind):
    files = two_classes() | {
        "cats/broken.png": png()[:40],
        "cats/empty.jpg": b"",
        "dogs/notes.txt": b"hello",
        "stray.png": png(),
    }
    loaded = load_folder(MAKERS[kind](tmp_path, files), image_size=8)
    assert len(loaded.images) == 10
    assert sorted(line.split(":")[0] for line in loaded.skipped) == [
        "cats/broken.png",
        "cats/empty.jpg",
        "dogs/notes.txt",
        "stray.png",
    ]
    assert all(line.endswith(".") for line in loaded.skipped)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "0 class folders"),
        ({"1.png": png(), "2.png": png()}, "0 class folders"),
        ({f"cats/{i}.png": png() for i in range(9)}, "1 class folder with"),
        (two_classes() | {f"birds/{i}.png": png() for i in range(4)}, "birds of .* has 4 readable"),
        (two_classes() | {f"birds/{i}.png": b"no" for i in range(6)}, "birds of .* has 0 readable.*first problem"),
    ],
)
@pytest.mark.parametrize("kind", MAKERS)
def test_too_little_is_said_in_words(tmp_path, kind, files, words):
    with pytest.raises(ModelsError, match=words):
        load_folder(MAKERS[kind](tmp_path, files), image_size=8)


def test_missing_and_corrupt_zip(tmp_path):
    with pytest.raises(ModelsError, match="no folder or zip"):
        load_folder(tmp_path / "none", image_size=8)
    path = make_zip(tmp_path / "pets.zip", two_classes())
    for data in (b"", b"no zip", path.read_bytes()[:-30]):
        (tmp_path / "bad.zip").write_bytes(data)
        with pytest.raises(ModelsError, match=r"bad\.zip is not a zip file, or it is damaged"):
            load_folder(tmp_path / "bad.zip", image_size=8)


@pytest.mark.parametrize(
    "name", ["../cats/evil.png", "/tmp/evil.png", "cats/../../evil.png", "cats\\..\\evil.png", "C:/cats/evil.png"]
)
def test_names_that_escape_are_refused(tmp_path, name):
    path = make_zip(tmp_path / "pets.zip", two_classes() | {name: png()})
    with pytest.raises(ModelsError, match="unsafe name"):
        load_folder(path, image_size=8)
    assert not list(tmp_path.parent.rglob("evil.png"))


def test_symbolic_links_are_refused(tmp_path):
    path = make_zip(tmp_path / "pets.zip", two_classes())
    link = zipfile.ZipInfo("cats/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ModelsError, match="symbolic link"):
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
    with pytest.raises(ModelsError, match="encrypted"):
        load_folder(path, image_size=8)


def test_compression_that_cannot_be_bounded(tmp_path):
    path = make_zip(tmp_path / "pets.zip", two_classes(), zipfile.ZIP_LZMA)
    with pytest.raises(ModelsError, match="unusual compression"):
        load_folder(path, image_size=8)


def test_bombs_are_stopped_by_what_comes_out(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MAX_MEMBER_BYTES", 2**20)
    files = two_classes() | {"cats/bomb.png": png() + bytes(8 * 2**20)}
    path = make_zip(tmp_path / "pets.zip", files)
    assert path.stat().st_size < 2**20
    loaded = load_folder(path, image_size=8)
    assert loaded.skipped == ("cats/bomb.png: bomb.png has more than 1 MB.",)
    monkeypatch.setattr(folders, "MAX_MEMBER_BYTES", 2**30)
    monkeypatch.setattr(folders, "MAX_TOTAL_BYTES", 2**20)
    with pytest.raises(ModelsError, match="unpacks to more than"):
        load_folder(path, image_size=8)


@pytest.mark.parametrize("claimed", [0, 10, 2**31])
def test_headers_that_lie_about_the_size(tmp_path, claimed):
    """Whatever size is claimed, no more than the limits is read and nothing crashes."""
    path = make_zip(tmp_path / "pets.zip", two_classes() | {"cats/bomb.png": bytes(4 * 2**20)})
    patch_central_directory(path, 24, struct.pack("<I", claimed))
    try:
        loaded = load_folder(path, image_size=8)
    except ModelsError:
        return
    assert any(line.startswith("cats/bomb.png") for line in loaded.skipped)


def test_damage_inside_one_member(tmp_path):
    path = make_zip(tmp_path / "pets.zip", two_classes(count=6), zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.find(b"IDAT") + 6] ^= 0xFF
    path.write_bytes(data)
    loaded = load_folder(path, image_size=8)
    assert loaded.skipped == ("cats/0.png: 0.png is damaged inside the zip.",)


def break_in_some_way(data: bytes, number: int) -> bytes:
    """A picture that cannot be read, in one of several ways."""
    ways = (
        b"",
        b"hello",
        data[:8],
        data[:30],
        data[:45],
        b"\xff\xd8\xff\xe0" + data,
        bytes(50),
        b"GIF89a" + data[6:],
    )
    return ways[number % len(ways)]


@pytest.mark.parametrize("kind", MAKERS)
def test_thousands_of_pictures_with_hundreds_broken(tmp_path, kind):
    """5,000 files in 10 classes, every eighth broken; numbers in the pictures tell whether all are in their place."""
    files, expected = {}, {}
    for number in range(5000):
        name = f"class{number % 10}/{number:04}.png"
        files[name] = png((number // 256, number % 256, 7), (9, 9))
        if number % 8 == 5:
            files[name] = break_in_some_way(files[name], number // 8)
        else:
            expected[name] = number
    heard = []
    path = MAKERS[kind](tmp_path, files)
    loaded = load_folder(path, image_size=8, progress=lambda fraction, message: heard.append(fraction))
    colors = loaded.images[:, :, 4, 4].astype(int)
    found = dict(zip(loaded.names, (colors[:, 0] * 256 + colors[:, 1]).tolist(), strict=True))
    assert found == expected and len(loaded.skipped) == 625
    assert {line.split(":")[0] for line in loaded.skipped} == files.keys() - expected.keys()
    assert loaded.labels.tolist() == [int(name[5]) for name in loaded.names]
    assert heard == sorted(heard) and len(heard) == 100 and not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("kind", MAKERS)
def test_reading_can_be_cancelled_and_leaves_nothing(tmp_path, kind, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(folders.tempfile, "tempdir", str(scratch))

    def cancel(fraction, message):
        if fraction:
            raise KeyboardInterrupt

    path = MAKERS[kind](tmp_path, two_classes("pets/", count=100))
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        load_folder(path if kind == "zip" else tmp_path / "pets", image_size=8, progress=cancel)
    assert not list(scratch.iterdir()) and threading.active_count() == before


def test_files_of_the_same_name_are_told_apart_in_a_zip(tmp_path):
    files = {f"{c}/{i}/x.png": png((i, n, 0)) for n, c in enumerate(("cats", "dogs")) for i in range(40)}
    loaded = load_folder(make_zip(tmp_path / "pets.zip", files), image_size=8)
    assert loaded.names == tuple(sorted(files, key=lambda name: PurePosixPath(name)))
    pixels = loaded.images[:, :2, 4, 4].tolist()
    assert pixels == [[int(name.split("/")[1]), int(name.startswith("dogs"))] for name in loaded.names]


def test_the_hash_of_files_follows_them_but_not_their_content(tmp_path):
    path = make_folder(tmp_path / "pets", two_classes())
    before = hash_files(path, list_files(path))
    assert hash_files(path, list_files(path)) == before and len(list_files(path)) == 10
    (path / "cats" / "4.png").rename(path / "dogs" / "0a.png")
    (path / "dogs" / "0a.png").rename(path / "dogs" / "4b.png")
    moved = hash_files(path, list_files(path))
    assert moved != before
    (path / "dogs" / "4b.png").write_bytes(b"other")
    assert hash_files(path, list_files(path)) != moved
    archive = make_zip(tmp_path / "pets.zip", two_classes())
    assert list_files(archive) == [archive]


@pytest.mark.parametrize("kind", MAKERS)
def test_too_many_files(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(folders, "MAX_MEMBERS", 9)
    with pytest.raises(ModelsError, match=r"files"):
        load_folder(MAKERS[kind](tmp_path, two_classes()), image_size=8)


def test_too_much_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MAX_TENSOR_BYTES", 1000)
    with pytest.raises(ModelsError, match=r"10 pictures of 8 x 8"):
        load_folder(make_folder(tmp_path, two_classes()), image_size=8)
