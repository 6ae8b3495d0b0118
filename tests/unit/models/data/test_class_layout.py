"""Which folders are classes and which are parts, and that nothing vanishes without a word."""

import os
import unicodedata
from pathlib import Path

import pytest

from models.data.class_layout import sort_into_classes
from models.data.folders import open_source
from tests.own_pictures import MAKERS, make_folder, noise, pictures
from tests.sentences import refused

SPELLINGS = [("train", "val"), ("Train", "VALID"), ("training", "validation"), ("train ", "Val")]
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(20)


def arrange(path):
    with open_source(path) as source:
        return sort_into_classes(source)


def count(layout) -> dict[tuple[str | None, str], int]:
    """(part, class) -> number of pictures."""
    found = {}
    for member in layout.members:
        found[member.part, member.category] = found.get((member.part, member.category), 0) + 1
    return found


def make(tmp_path, kind, *sets):
    files = {}
    for some in sets:
        files |= some
    path = tmp_path / "pets"
    path.mkdir()
    return MAKERS[kind](path, files) if kind == "folder" else MAKERS[kind](tmp_path, files)


both = pytest.mark.parametrize("kind", MAKERS)


@both
@pytest.mark.parametrize("around", ["", "birds/", "My Data/v1/"])
@pytest.mark.parametrize("names", SPELLINGS)
def test_splits_are_no_classes(tmp_path, kind, around, names):
    train, val = (f"{around}{name}" for name in names)
    layout = arrange(
        make(
            tmp_path,
            kind,
            pictures(f"{train}/ants", f"{train}/bees", count=7),
            pictures(f"{val}/ants", f"{val}/bees", count=5),
        )
    )
    assert layout.categories == ("ants", "bees")
    assert count(layout) == {
        ("train", "ants"): 7,
        ("train", "bees"): 7,
        ("validation", "ants"): 5,
        ("validation", "bees"): 5,
    }
    (note,) = layout.notes
    assert names[0].strip() in note and names[1].strip() in note and "not classes" in note


@both
def test_a_test_part_without_classes_is_left_out_and_named(tmp_path, kind):
    """As competitions hand it out: what is to be labelled lies in one heap."""
    layout = arrange(
        make(tmp_path, kind, pictures("train/ants", "train/bees"), pictures("Test", count=3), pictures("val/bees"))
    )
    assert set(count(layout)) == {("train", "ants"), ("train", "bees"), ("validation", "bees")}
    assert any("The folder Test was left out, with 3 files" in note for note in layout.notes)
    assert any(note == "val has no pictures of ants." for note in layout.notes)
    assert [line.split(":")[0] for line in layout.skipped] == ["Test/0.png", "Test/1.png", "Test/2.png"]


@both
def test_splits_inside_of_the_classes(tmp_path, kind):
    folders = [f"{category}/{part}" for category in ("ants", "bees") for part in ("train", "test")]
    layout = arrange(make(tmp_path, kind, pictures(*folders)))
    assert set(count(layout)) == {(part, name) for part in ("train", "test") for name in ("ants", "bees")}
    assert len(layout.notes) == 1


@both
@pytest.mark.parametrize("names", [("train", "bus"), ("train", "test"), ("train", "val", "plane")])
def test_classes_may_be_called_like_splits_where_they_hold_pictures(tmp_path, kind, names):
    layout = arrange(make(tmp_path, kind, pictures(*names)))
    assert layout.categories == tuple(sorted(names)) and layout.notes == ()


@both
def test_one_split_alone_is_a_folder_around_the_classes(tmp_path, kind):
    layout = arrange(make(tmp_path, kind, pictures("train/ants", "train/bees")))
    assert count(layout) == {(None, "ants"): 6, (None, "bees"): 6} and layout.notes == ()


@both
def test_folders_of_folders_beside_pictures_are_warned_of(tmp_path, kind):
    layout = arrange(make(tmp_path, kind, pictures("pets/cats", "pets/dogs"), pictures("samples", count=5)))
    (note,) = layout.notes
    assert note.startswith("pets holds folders of pictures (cats and dogs), but samples holds pictures")


@both
def test_folders_in_all_classes_are_warned_of_and_one_beside_pictures_is_not(tmp_path, kind):
    layout = arrange(make(tmp_path, kind, pictures("one/ants", "one/bees", "two/ants", "two/bees")))
    assert layout.categories == ("one", "two") and "ants and bees" in layout.notes[0]
    more = arrange(make_folder(tmp_path / "more", pictures("cats", "cats/young", "dogs/at home")))
    assert more.categories == ("cats", "dogs") and more.notes == ()


@both
@pytest.mark.parametrize("around", ["", "a/"])
def test_a_picture_beside_the_classes_does_not_hide_the_folder_around_them(tmp_path, kind, around):
    files = pictures(f"{around}pets/cats", f"{around}pets/dogs") | {f"{around}pets/cover.jpg": noise(1)}
    layout = arrange(make(tmp_path, kind, files, {"readme.txt": b"hello"}))
    assert layout.categories == ("cats", "dogs") and layout.notes == ()
    assert layout.skipped[0] == f"{around}pets/cover.jpg: lies outside the class folders."
    assert layout.skipped[1].startswith("readme.txt: ") and len(layout.skipped) == 2


@both
@pytest.mark.parametrize(
    ("suffix", "kind_of_picture"), [(".jfif", "JPEG"), ("", "PNG"), (".JPE", "JPEG"), (".dat", "GIF")]
)
def test_content_decides_what_a_picture_is(tmp_path, kind, suffix, kind_of_picture):
    files = pictures("birds", suffix=suffix, kind=kind_of_picture)
    layout = arrange(make(tmp_path, kind, pictures("cats", "dogs"), files))
    assert layout.categories == ("birds", "cats", "dogs") and layout.skipped == ()


@both
def test_pictures_that_cannot_be_read_belong_to_their_class(tmp_path, kind):
    """So that the class is missed, whatever the files are called."""
    files = {f"birds/{i}.HEIC": HEIC for i in range(3)} | {f"bats/{i}": HEIC for i in range(3)}
    assert arrange(make(tmp_path, kind, pictures("cats"), files)).categories == ("bats", "birds", "cats")


@both
def test_every_folder_that_is_no_class_is_named_with_its_reason(tmp_path, kind):
    others = {
        "texts/a.txt": b"hello",
        "texts/b.csv": b"1,2",
        "films/a.mp4": b"\0\0\0\x18ftypisom" + bytes(30),
        "packed/cats.zip": b"PK\3\4" + bytes(30),
        ".birds/1.png": noise(3),
        ".git/config": b"",
        "__MACOSX/._cats": b"",
        "owls/Thumbs.db": b"",
        "owls/.1.png": b"",
    }
    layout = arrange(make(tmp_path, kind, pictures("cats", "dogs"), others))
    assert layout.categories == ("cats", "dogs")
    reasons = {
        ".birds": "its name begins with a dot",
        "films": "with 1 file; a.mp4: is not a kind of picture this program reads (video)",
        "owls": "has only hidden files",
        "packed": "with 1 file; cats.zip: is an archive; unpack it",
        "texts": "with 2 files; a.txt: is not a kind",
    }
    for note, (folder, reason) in zip(layout.notes, reasons.items(), strict=True):
        assert note.startswith(f"The folder {folder} was left out") and reason in note


def test_empty_folders_of_a_zip_are_named(tmp_path):
    layout = arrange(make(tmp_path, "zip", pictures("cats", "dogs"), {"birds/": b""}))
    assert layout.notes == ("The folder birds was left out: it is empty.",)


@pytest.mark.parametrize("around", ["", "pets/"])
def test_links_and_folders_that_cannot_be_read(tmp_path, around, monkeypatch):
    """A link is followed where it leads to something new; all else is named, also inside of a class."""
    root = make_folder(tmp_path / "data", pictures(f"{around}cats", f"{around}dogs"))
    make_folder(tmp_path / "elsewhere", pictures("birds"))
    inside = root / around
    (inside / "birds").symlink_to(tmp_path / "elsewhere" / "birds")
    (inside / "lost").symlink_to(tmp_path / "none")
    (inside / "again").symlink_to(root)
    (inside / "itself").symlink_to("itself")
    (inside / "cats" / "lost.png").symlink_to(tmp_path / "none.png")
    os.mkfifo(inside / "dogs" / "pipe.png")
    (inside / "empty").mkdir()
    (inside / "locked").mkdir()
    scan = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    layout = arrange(root)
    assert layout.categories == ("birds", "cats", "dogs")
    assert layout.notes == (
        f"{around}again was left out: it is a link to a folder around it.",
        f"The folder {around}empty was left out: it is empty.",
        f"{around}itself was left out: it is a link that leads nowhere.",
        f"{around}locked was left out: it cannot be read (Permission denied).",
        f"{around}lost was left out: it is a link that leads nowhere.",
    )
    assert layout.skipped == (
        f"{around}cats/lost.png: is a link that leads nowhere.",
        f"{around}dogs/pipe.png: is no ordinary file.",
    )


@both
def test_one_class_under_two_spellings(tmp_path, kind):
    """Composed and decomposed letters are one class; upper case and spaces are only warned of."""
    apart = unicodedata.normalize("NFD", "고양이")
    layout = arrange(make(tmp_path, kind, pictures("고양이", "강아지"), pictures(apart, count=5)))
    assert count(layout) == {(None, "강아지"): 6, (None, "고양이"): 11} and layout.notes == ()
    assert len({member.name for member in layout.members}) == 17
    more = arrange(make_folder(tmp_path / "more", pictures("Cats", "cats", "cats ", "dogs")))
    (note,) = more.notes
    assert "'Cats', 'cats' and 'cats '" in note and "dogs" not in note


@both
@pytest.mark.parametrize(
    "files",
    [
        {"cats.zip": b"PK\3\4", "dogs.zip": b"PK\3\4"},
        pictures("cats") | {"dogs/1.txt": b"x"},
        pictures("cats") | {".dogs/1.png": b"x"},
    ],
)
def test_too_few_classes_say_where_the_others_are(tmp_path, kind, files):
    with refused():
        arrange(make(tmp_path, kind, files))


@both
def test_looking_into_files_can_be_cancelled(tmp_path, kind):
    def cancel():
        raise KeyboardInterrupt

    path = make(tmp_path, kind, pictures("cats", "dogs", suffix=""))
    with open_source(path) as source, pytest.raises(KeyboardInterrupt):
        sort_into_classes(source, cancel)
