"""Labelled pictures from every source, and the way from their names to a model's classes."""

import os
import unicodedata
import zipfile

import numpy as np
import pytest
from PIL import Image

from models.data.datasets import load_dataset
from models.data.decoding.formats import ImageError
from models.data.labelled import CIFAR10_FILE, KNOWN_SETS, map_labels, open_evaluation_data
from models.data.shapes import ShapesConfig
from models.zoo.lite0 import efficientnet_lite0
from tests.own_pictures import MAKERS, make_folder, noise, pictures
from tests.sentences import refused

SMALL = ShapesConfig(num_images=200)


@pytest.fixture
def folder(tmp_path):
    """Two classes of three pictures, one of them broken."""
    for number, (category, name) in enumerate([("cat", "a"), ("cat", "b"), ("dog", "a"), ("dog", "c")]):
        path = tmp_path / "pets" / category / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 9), (number, 0, 0)).save(path)
    (tmp_path / "pets" / "dog" / "b.png").write_bytes(b"no picture")
    (tmp_path / "pets" / "notes.txt").write_text("hello")
    return tmp_path / "pets"


def check_folder(data):
    assert data.name.startswith("pets") and data.categories == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 1, 1, 1] and len(data) == 5
    assert [name.split("/")[-2:] for name in data.image_ids] == [
        ["cat", "a.png"],
        ["cat", "b.png"],
        ["dog", "a.png"],
        ["dog", "b.png"],
        ["dog", "c.png"],
    ]
    assert len(data.skipped) == 1 and "notes.txt" in data.skipped[0]
    assert [data.picture(index).getpixel((0, 0))[0] for index in (4, 0, 1, 2)] == [3, 0, 1, 2]
    assert data.picture(0).size == (12, 9)
    with refused("b.png", error=ImageError):
        data.picture(3)


def test_a_folder_opens_its_pictures_one_by_one(folder):
    with open_evaluation_data(folder, data_root="") as data:
        check_folder(data)


def test_a_zip_is_read_like_a_folder(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, path.relative_to(folder.parent))
    with open_evaluation_data(tmp_path / "pets.zip", data_root="") as data:
        check_folder(data)


def test_shapes_are_the_test_split_of_a_training(tmp_path):
    split = load_dataset("shapes", data_root=tmp_path, seed=3, shapes=SMALL)
    with open_evaluation_data("shapes", data_root=tmp_path, seed=3, shapes=SMALL) as data:
        assert data.categories == split.categories and (data.labels == split.test.labels.numpy()).all()
        pixels = np.stack([np.asarray(data.picture(i)).transpose(2, 0, 1) for i in range(len(data))])
    assert (pixels == split.test.images.numpy()).all()
    assert len(set(data.image_ids)) == len(data)


def test_fashion_mnist_is_its_official_test_set(tmp_path):
    from models.data.fashion_mnist import load_fashion_mnist

    _, (images, labels) = load_fashion_mnist(tmp_path)
    with open_evaluation_data("fashion_mnist", data_root=tmp_path) as data:
        assert len(data) == 10_000 and (data.labels == labels).all()
        picture = data.picture(123)
    assert picture.mode == "L" and (np.asarray(picture) == images[123]).all()


def test_cifar10_is_read_from_its_binary_version(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(4, 3, 32, 32), dtype=np.uint8)
    labels = np.array([9, 0, 3, 3], np.uint8)
    path = tmp_path / CIFAR10_FILE
    path.parent.mkdir()
    path.write_bytes(b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True)))
    with open_evaluation_data("cifar10", data_root=tmp_path) as data:
        assert data.labels.tolist() == labels.tolist() and data.categories[9] == "truck"
        assert (np.asarray(data.picture(2)).transpose(2, 0, 1) == images[2]).all()


@pytest.mark.parametrize("content", [None, b"", b"1" * 100, b"\x0a" * 3073])
def test_cifar10_says_what_is_wrong(tmp_path, content):
    path = tmp_path / CIFAR10_FILE
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    with refused(), open_evaluation_data("cifar10", data_root=tmp_path):
        pass


def test_unknown_data_are_refused_with_what_there_is(tmp_path):
    with refused(", ".join(KNOWN_SETS)), open_evaluation_data("nowhere", data_root=tmp_path):
        pass
    (tmp_path / "empty").mkdir()
    with refused(), open_evaluation_data(tmp_path / "empty", data_root=""):
        pass
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with refused(), open_evaluation_data(tmp_path / "x.zip", data_root=""):
        pass


def test_classes_are_found_by_name_or_index():
    categories = ("ant", "Tiger  Cat", "T-shirt/top", "crane", "crane", "0")
    names = ("tiger_cat", "ANT", "t shirt/top", "crane", "0", "2", "6", "-1", "bee")
    assert map_labels(names, categories) == (1, 0, 2, -1, 5, 2, -1, -1, -1)
    assert map_labels(categories[:3], categories) == (0, 1, 2)
    assert map_labels(("²",), categories) == (-1,)


def test_classes_whose_names_differ_only_in_case_are_told_apart():
    assert map_labels(("cat", "Cat", "CAT"), ("cat", "Cat")) == (0, 1, -1)
    assert map_labels(("9" * 5000, "000001", "00001"), ("ant", "bee")) == (-1, -1, 1)


def test_the_version_changes_with_the_pictures(folder, tmp_path):
    def version(path):
        with open_evaluation_data(path, data_root="") as data:
            return data.version

    def pack(colour):
        with zipfile.ZipFile(tmp_path / "pets.zip", "w") as archive:
            for name in ("cat/a.png", "dog/a.png"):
                Image.new("RGB", (9, 9), colour).save(tmp_path / "one.png")
                archive.write(tmp_path / "one.png", name)

    before = version(folder)
    assert version(folder) == before == version(folder / ".." / "pets")
    Image.new("RGB", (30, 30), "red").save(folder / "cat" / "a.png")
    assert version(folder) != before
    pack("red")
    before = version(tmp_path / "pets.zip")
    pack("white")
    assert version(tmp_path / "pets.zip") != before
    versions = set()
    for seed in (0, 0, 1):
        with open_evaluation_data("shapes", data_root=tmp_path, seed=seed, shapes=SMALL) as data:
            versions.add(data.version)
    assert len(versions) == 2


def test_imagenet_classes_are_found_by_wordnet_number():
    categories = efficientnet_lite0().categories
    assert map_labels(("n02123045", "n01440764", "n99999999"), categories) == (281, 0, -1)
    assert categories[281] == "tabby" and map_labels(("Tiger Cat", "285"), categories) == (282, 285)
    assert map_labels(("n02123045",), ("ant", "bee")) == (-1,)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(
    ("parts", "used", "words"),
    [
        (("train", "val", "Test"), "Test", "Only the test pictures"),
        (("train", "valid"), "valid", "Only the validation pictures"),
        (("val", "test"), "test", "Only the test pictures"),
    ],
)
def test_of_a_divided_set_the_test_part_is_meant(tmp_path, kind, parts, used, words):
    files = pictures(*(f"data/{part}/{category}" for part in parts for category in ("ants", "bees")))
    with open_evaluation_data(MAKERS[kind](tmp_path, files), data_root="") as data:
        assert data.categories == ("ants", "bees") and np.bincount(data.labels).tolist() == [6, 6]
        assert all(name.startswith(f"data/{used}/") for name in data.image_ids)
        assert words in data.notes[-1] and "not classes" in data.notes[0]
        assert data.picture(11).size == (24, 24)


def test_an_undivided_set_is_used_whole(tmp_path):
    with open_evaluation_data(make_folder(tmp_path / "pets", pictures("cats", "dogs")), data_root="") as data:
        assert len(data) == 12 and data.notes == ()


def test_names_that_are_not_utf8_are_readable(tmp_path):
    korean = {name: os.fsdecode(name.encode("cp949")) for name in ("사진", "강아지", "고양이")}
    files = {f"{korean[name]}/{i}.png": noise(i) for name in ("강아지", "고양이") for i in range(3)}
    make_folder(tmp_path / korean["사진"], files | {f"{korean['고양이']}/{korean['사진']}.png": b"?"})
    for place in (tmp_path / korean["사진"], tmp_path / "사진"):
        with open_evaluation_data(place, data_root="") as data:
            assert data.name == "사진" and data.categories == ("강아지", "고양이")
            assert "고양이/사진.png" in data.image_ids and len(data) == 7
            with refused("사진", error=ImageError):
                data.picture(data.image_ids.index("고양이/사진.png"))
            assert data.picture(0).size == (24, 24)


def test_classes_are_found_whatever_way_their_letters_are_composed():
    apart = [unicodedata.normalize("NFD", name) for name in ("고양이", "éléphant")]
    assert map_labels(apart, ("강아지", "éléphant", "고양이")) == (2, 1)
    assert map_labels(("고양이", "Éléphant"), ("강아지", *apart)) == (1, 2)
    assert map_labels(("고양이", apart[0]), ("고양이", apart[0])) == (0, 1)
    assert map_labels(("ｃａｔ",), ("dog", "Cat")) == (1,)
