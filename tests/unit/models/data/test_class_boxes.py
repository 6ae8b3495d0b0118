"""Boxes of pictures become a zip that the loader reads."""

import unicodedata
import zipfile

import pytest
from PIL import Image

from models.data import class_layout, zips
from models.data.class_boxes import MAX_WORD, save_class_boxes
from models.data.folders import load_folder
from tests.sentences import refused


@pytest.fixture
def pictures(tmp_path):
    """Two classes of five pictures, of which some share a name."""
    files = {}
    for number, category in enumerate(("cats", "dogs")):
        for i in range(5):
            path = tmp_path / "upload" / category / str(i) / f"picture {i % 2}.PNG"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (20, 12), (number * 200, i, 0)).save(path)
            files.setdefault(category, []).append(path)
    return files


def test_the_loader_reads_what_was_saved(tmp_path, pictures):
    path = save_class_boxes(pictures | {"empty": []}, tmp_path / "own")
    loaded = load_folder(path, image_size=8)
    assert loaded.categories == ("cats", "dogs") and loaded.labels.tolist() == [0] * 5 + [1] * 5
    assert loaded.images[:, 0, 4, 4].tolist() == [0] * 5 + [200] * 5
    assert loaded.images[:, 1, 4, 4].tolist() == [0, 1, 2, 3, 4] * 2 and loaded.skipped == ()


def test_the_same_boxes_are_the_same_file(tmp_path, pictures):
    folder = tmp_path / "own"
    first = save_class_boxes(pictures, folder)
    content = first.read_bytes()
    assert save_class_boxes(pictures, folder) == first and first.read_bytes() == content
    moved = {"cats": pictures["dogs"], "dogs": pictures["cats"]}
    assert save_class_boxes(moved, folder) != first
    assert len(list(folder.iterdir())) == 2
    assert first.name == "cats-dogs.zip"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc", "_.._etc"),
        ("/tmp/x", "_tmp_x"),
        ("a\\b:c", "a_b_c"),
        (".hidden", "hidden"),
        ("Käfer 1", "Käfer 1"),
    ],
)
def test_names_are_made_safe(tmp_path, pictures, name, safe):
    path = save_class_boxes({name: pictures["cats"], "dogs": pictures["dogs"]}, tmp_path / "own")
    assert set(load_folder(path, image_size=8).categories) == {safe, "dogs"}
    with zipfile.ZipFile(path) as archive:
        assert all(".." not in member.split("/") and not member.startswith("/") for member in archive.namelist())


@pytest.mark.parametrize(
    "change",
    [
        lambda p: {"cats": p["cats"]},
        lambda p: {},
        lambda p: p | {"dogs": p["dogs"][:4]},
        lambda p: p | {"CATS": p["dogs"]},
        lambda p: p | {"a/b": p["dogs"], "a:b": p["dogs"]},
        lambda p: p | {" .. ": p["dogs"]},
        lambda p: p | {"__MACOSX": p["dogs"]},
        lambda p: p | {"dogs": [*p["dogs"], "notes.txt"]},
        lambda p: p | {"dogs": [*p["dogs"], "gone.png"]},
    ],
)
def test_what_cannot_be_saved_is_said(tmp_path, pictures, change):
    with refused():
        save_class_boxes(change(pictures), tmp_path / "own")
    assert not list(tmp_path.glob("own/*"))


@pytest.mark.parametrize(
    ("module", "limit", "value"),
    [
        (class_layout, "MAX_FILES", 9),
        (zips, "MAX_MEMBER_BYTES", 10),
        (zips, "MAX_TOTAL_BYTES", 200),
    ],
)
def test_limits_are_those_of_the_loader(tmp_path, pictures, monkeypatch, module, limit, value):
    monkeypatch.setattr(module, limit, value)
    with refused():
        save_class_boxes(pictures, tmp_path / "own")
    assert not list(tmp_path.glob("own/*"))


def test_content_decides_what_may_be_dropped(tmp_path, pictures):
    """Suffixes that are not known, none at all, and letters that are not composed."""
    files = {name: [] for name in ("birds", "bats")}
    for name, suffix in (("birds", ".jfif"), ("bats", "")):
        for number in range(5):
            files[name].append(tmp_path / f"{name}{number}{suffix}")
            Image.new("RGB", (9, 9), (number, 0, 0)).save(files[name][-1], "JPEG")
    loaded = load_folder(save_class_boxes(pictures | files, tmp_path / "own"), image_size=8)
    assert loaded.categories == ("bats", "birds", "cats", "dogs") and loaded.skipped == ()
    apart = unicodedata.normalize("NFD", "고양이")
    loaded = load_folder(
        save_class_boxes({apart: pictures["cats"], "dogs": pictures["dogs"]}, tmp_path), image_size=8
    )
    assert loaded.categories == ("dogs", "고양이")
    with refused():
        save_class_boxes({apart: pictures["cats"], "고양이": pictures["dogs"]}, tmp_path)


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (["고양이", "개"], "고양이-개"),
        (["no cup", "a/b..c"], "no-cup-a_b-c"),
        (["x" * 60, "y"], f"{'x' * MAX_WORD}-y"),
        (list("abcde"), "a-b-c-and-2-more"),
    ],
)
def test_a_data_set_is_called_after_its_classes(tmp_path, pictures, names, called):
    path = save_class_boxes(dict.fromkeys(names, pictures["cats"]), tmp_path)
    with zipfile.ZipFile(path) as archive:
        folders = {member.partition("/")[0] for member in archive.namelist()}
    assert path.name == f"{called}.zip" and len(folders) == len(names)
