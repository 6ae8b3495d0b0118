"""Pictures dropped into class boxes become a data set."""

import zipfile

import pytest
from PIL import Image

from models.errors import ModelsError
from ui.own_data import MAX_BOXES, BoxStore, count_boxes, read_boxes


def make_values(**boxes) -> dict:
    """Values of the fields: class -> files, in boxes 1, 2, ..."""
    values = {f"box_name_{number}": "" for number in range(1, MAX_BOXES + 1)}
    values |= {f"box_files_{number}": None for number in range(1, MAX_BOXES + 1)}
    for number, (name, files) in enumerate(boxes.items(), start=1):
        values |= {f"box_name_{number}": name, f"box_files_{number}": files}
    return values


@pytest.fixture
def pictures(tmp_path):
    files = []
    for number in range(5):
        files.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (9, 9), (number, 0, 0)).save(files[-1])
    return files


def test_boxes_without_pictures_are_left_out():
    values = make_values(cats=["a.png"], dogs=["b.png", "c.png"], owls=[])
    assert read_boxes(values) == {"cats": ["a.png"], "dogs": ["b.png", "c.png"]}
    assert count_boxes(values) == 2


def test_a_box_needs_a_name_of_its_own():
    values = make_values(cats=["a.png"], dogs=["b.png", "c.png"])
    with pytest.raises(ModelsError, match="Box 2 has 2 pictures but no name"):
        read_boxes(values | {"box_name_2": "  "})
    with pytest.raises(ModelsError, match="Two boxes are called 'cats'"):
        read_boxes(values | {"box_name_2": " cats"})


def test_the_same_boxes_are_one_file_and_only_the_last_are_kept(pictures):
    store = BoxStore(max_kept=2)
    first = store.pack({"a": pictures, "b": pictures})
    assert store.pack({"a": pictures, "b": pictures}) == first
    with zipfile.ZipFile(first) as archive:
        assert len(archive.namelist()) == 10
    second, third = (store.pack({"a": pictures, name: pictures}) for name in "cd")
    assert not first.exists() and second.exists() and third.exists()


def test_too_few_pictures_are_refused(pictures):
    with pytest.raises(ModelsError, match="1 classes"):
        BoxStore().pack({"a": pictures})
