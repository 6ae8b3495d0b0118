"""Class boxes become a data set, and stay one file while they are the same."""

import zipfile
from io import BytesIO

import pytest
from PIL import Image

from lab.own_pictures import BoxStore
from models.access import Viewer, acting
from tests.sentences import refused


@pytest.fixture
def pictures(tmp_path):
    files = []
    for number in range(5):
        files.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (9, 9), (number, 0, 0)).save(files[-1])
    return files


def test_the_same_boxes_are_one_file_and_only_the_last_are_kept(pictures):
    store = BoxStore(max_kept=2)
    first = store.pack({"a": pictures, "b": pictures})
    assert store.pack({"a": pictures, "b": pictures}) == first
    with zipfile.ZipFile(first) as archive:
        assert len(archive.namelist()) == 10
    second, third = (store.pack({"a": pictures, name: pictures}) for name in "cd")
    assert not first.exists() and second.exists() and third.exists()


def test_too_few_pictures_are_refused(pictures):
    with refused("1"):
        BoxStore().pack({"a": pictures})


def test_boxes_are_found_by_the_browser_that_filled_them_alone():
    store, file = BoxStore(), BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    with acting(Viewer("ada", "train")):
        store.keep("session", "k", {1: file.getvalue()}, {1})
        assert len(store.find("k", [1, 2])) == 1
    for other in (Viewer("bob", "train"), Viewer("", "train")):
        with acting(other):
            assert store.find("k", [1]) == []
    store.forget("session")
    assert store.find("k", [1]) == []
