"""Own pictures: layouts, broken pictures, names that are not UTF-8, and what is said about it all."""

import io
import json
import os
import tempfile
import threading

import numpy as np
import pytest
from PIL import Image

from models.data import class_layout, folders
from models.data.folders import hash_files, list_files, load_folder
from tests.own_pictures import MAKERS, make_folder, make_zip, noise, pictures, png, two_classes
from tests.sentences import refused


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
    "files",
    [
        {},
        {"1.png": png(), "2.png": png()},
        {f"cats/{i}.png": png() for i in range(9)},
        two_classes() | {f"birds/{i}.png": png() for i in range(4)},
        two_classes() | {f"birds/{i}.png": b"no" for i in range(6)},
    ],
)
@pytest.mark.parametrize("kind", MAKERS)
def test_too_little_is_said_in_words(tmp_path, kind, files):
    with refused():
        load_folder(MAKERS[kind](tmp_path, files), image_size=8)


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
    assert heard == sorted(heard) and set(heard) >= {number / 100 for number in range(100)}  # more where it is slow
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("kind", MAKERS)
def test_reading_can_be_cancelled_and_leaves_nothing(tmp_path, kind, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def cancel(fraction, message):
        if fraction:
            raise KeyboardInterrupt

    path = MAKERS[kind](tmp_path, two_classes("pets/", count=100))
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        load_folder(path if kind == "zip" else tmp_path / "pets", image_size=8, progress=cancel)
    assert not list(scratch.iterdir()) and threading.active_count() == before


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
    monkeypatch.setattr(class_layout, "MAX_FILES", 9)
    with refused():
        load_folder(MAKERS[kind](tmp_path, two_classes()), image_size=8)


def test_too_much_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "MAX_TENSOR_BYTES", 1000)
    with refused("10", "8 x 8"):
        load_folder(make_folder(tmp_path, two_classes()), image_size=8)


CP949 = {name: os.fsdecode(name.encode("cp949")) for name in ("강아지", "고양이", "사진", "얼굴 1.png")}


def test_folders_with_names_that_are_not_utf8(tmp_path):
    """As an archive from Korean Windows leaves them on Linux: readable in everything that is shown."""
    path = tmp_path / CP949["사진"]
    make_folder(path, {f"{CP949[name]}/{i}.png": noise(i) for name in ("강아지", "고양이") for i in range(5)})
    make_folder(path, {f"{CP949['고양이']}/{CP949['얼굴 1.png']}": noise(9), f"{CP949['사진']}/a.txt": b"hello"})
    make_folder(path, {f"{CP949['강아지']}/broken {CP949['사진']}.png": b"?"})
    shown = tmp_path / "사진"
    assert not shown.exists()
    for place in (path, shown):
        loaded = load_folder(place, image_size=8)
        assert loaded.categories == ("강아지", "고양이") and len(loaded.images) == 11
        assert "고양이/얼굴 1.png" in loaded.names
        assert "broken 사진.png" in "".join(loaded.skipped) and "The folder 사진 was left out" in loaded.notes[-1]
        json.dumps([*loaded.names, *loaded.skipped, *loaded.notes], ensure_ascii=False).encode()
        assert len(list_files(place)) == 13
    assert hash_files(path, list_files(path)) == hash_files(shown, list_files(shown))


def test_two_class_folders_that_cannot_be_read_are_refused(tmp_path):
    lost = [os.fsdecode(b"a\x98\xff" + end) for end in (b"\xfd", b"\xfc")]
    make_folder(tmp_path / "pets", {f"{name}/{i}.png": noise(i) for name in lost for i in range(5)})
    with refused("pets"):
        load_folder(tmp_path / "pets", image_size=8)


def test_the_same_class_in_two_encodings_is_one(tmp_path):
    files = {f"{name}/{i}.png": noise(i) for name in ("고양이", CP949["고양이"], "강아지") for i in range(5)}
    loaded = load_folder(make_folder(tmp_path / "pets", files), image_size=8)
    assert loaded.categories == ("강아지", "고양이") and np.bincount(loaded.labels).tolist() == [5, 10]
    assert len(set(loaded.names)) == 15


@pytest.mark.parametrize("kind", MAKERS)
def test_parts_go_with_the_pictures(tmp_path, kind):
    files = pictures("train/ants", "train/bees", count=7) | pictures("val/ants", "val/bees", count=5)
    files |= {"train/ants/broken.png": b"?"}
    loaded = load_folder(MAKERS[kind](tmp_path, files), image_size=8)
    for name, part, label in zip(loaded.names, loaded.parts, loaded.labels, strict=True):
        assert name.startswith({"train": "train/", "validation": "val/"}[part])
        assert name.split("/")[1] == loaded.categories[label]
    assert len(loaded.names) == 24 and len(loaded.skipped) == 1


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    "folders_and_counts",
    [
        {"val/ants": 6, "val/bees": 6, "test/ants": 6},
        {"train/ants": 6, "train/bees": 6, "val/wasps": 6},
        {"train/ants": 6, "train/bees": 4, "val/bees": 6},
    ],
    ids=str,
)
def test_what_is_trained_on_must_be_there(tmp_path, kind, folders_and_counts):
    files = {}
    for folder, count in folders_and_counts.items():
        files |= pictures(folder, count=count)
    with refused():
        load_folder(MAKERS[kind](tmp_path, files), image_size=8)


def test_the_first_problem_is_one_of_the_class_that_lacks_pictures(tmp_path):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(20)
    files = two_classes() | {f"owls/{i}.HEIC": heic for i in range(6)} | {"cats/a.png": b"?"}
    with refused("owls", "pets.zip", "0", "owls/0.HEIC"):
        load_folder(make_zip(tmp_path / "pets.zip", files), image_size=8)


def test_a_folder_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with refused("pets", "Permission denied"):
        load_folder(make_folder(tmp_path / "pets", two_classes()), image_size=8)


@pytest.mark.parametrize("kind", MAKERS)
def test_progress_comes_several_times_a_second(tmp_path, kind, monkeypatch):
    """However long a picture takes: a visitor who cancels waits for no more than the pictures at work."""
    clock = iter(range(10**6))
    monkeypatch.setattr(folders.time, "monotonic", lambda: next(clock))
    heard = []
    path = MAKERS[kind](tmp_path, two_classes("pets/", count=20))
    load_folder(path, image_size=8, progress=lambda fraction, message: heard.append((message, fraction)))
    assert sum(message == "Reading pictures" for message, _ in heard) == 40
    assert [fraction for _, fraction in heard] == sorted(fraction for _, fraction in heard)
