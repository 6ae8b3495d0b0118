"""Loading by name or path, and splits that are disjoint, stratified and decided by the seed."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.errors import UserError
from models.data.dataset import Dataset, Split
from models.data.datasets import DATASETS, OWN_PICTURES, divide, find_spec, full_path, hold_out, load_dataset
from models.data.shapes import ShapesConfig, make_shapes
from tests.own_pictures import make_folder, make_zip, pictures, png, two_classes
from tests.sentences import refused

SMALL = ShapesConfig(num_images=300)


def shapes(seed=0, **options):
    return load_dataset("shapes", data_root="unused", seed=seed, shapes=SMALL, **options)


def test_shapes_split():
    data = shapes()
    sizes = [len(split) for split in (data.train, data.validation, data.test)]
    assert sizes == [210, 45, 45] and data.in_channels == 3 and data.image_size == 32
    for split, per_class in ((data.train, 35), (data.validation, 7.5), (data.test, 7.5)):
        assert split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64
        assert np.abs(torch.bincount(split.labels).numpy() - per_class).max() < 1
    pictures = {
        picture.numpy().tobytes() for split in (data.train, data.validation, data.test) for picture in split.images
    }
    assert len(pictures) == 300


def test_seed_decides():
    assert torch.equal(shapes(1).train.images, shapes(1).train.images)
    assert not torch.equal(shapes(1).train.labels, shapes(2).train.labels)


def test_image_size_and_statistics():
    data = shapes(image_size=24)
    preprocessing = data.preprocessing()
    pixels = data.train.images.double() / 255
    assert data.image_size == preprocessing.crop_size == 24
    assert preprocessing.mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist(), abs=1e-5)
    assert preprocessing.std == pytest.approx(pixels.std(dim=(0, 2, 3), correction=0).tolist(), abs=1e-5)


def test_fashion_mnist_keeps_the_official_test_set(monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (600, 28, 28), dtype=np.uint8)
    labels = (np.arange(600) % 10).astype(np.uint8)
    fake = (images[:500], labels[:500]), (images[500:], labels[500:])
    monkeypatch.setattr("models.data.fashion_mnist.load_fashion_mnist", lambda root: fake)
    data = load_dataset("fashion_mnist", data_root="unused", seed=0)
    assert np.array_equal(data.test.images[:, 0], images[500:])
    assert len(data.train) + len(data.validation) == 500 and data.categories[9] == "ankle boot"
    bigger = load_dataset("fashion_mnist", data_root="unused", seed=0, image_size=32)
    assert bigger.train.images.shape[1:] == (1, 32, 32)


def test_own_pictures(tmp_path):
    for number, name in enumerate(("a", "b", "c")):
        (tmp_path / name).mkdir()
        for i in range(5):
            Image.new("RGB", (30, 30), (number * 100, i, 0)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "a" / "broken.png").write_bytes(b"?")
    heard = []
    data = load_dataset(tmp_path, data_root="unused", seed=0, progress=lambda *what: heard.append(what))
    assert data.categories == ("a", "b", "c") and data.image_size == 64 and heard
    assert [len(split) for split in (data.train, data.validation, data.test)] == [9, 3, 3]
    assert len(data.skipped) == 1
    assert torch.equal(data.train.images[:, 0, 0, 0].long(), data.train.labels * 100)


def test_ids_are_places_in_the_source(tmp_path, monkeypatch):
    images, labels = make_shapes(SMALL, seed=0)
    data = shapes()
    splits = (data.train, data.validation, data.test)
    ids = torch.cat([split.ids for split in splits])
    assert sorted(ids.tolist()) == list(range(300)) and ids.dtype == torch.int64
    for split in splits:
        assert np.array_equal(split.images, images[split.ids]) and np.array_equal(split.labels, labels[split.ids])
    assert torch.equal(shapes().validation.ids, data.validation.ids)
    assert data.source_name(data.test.ids[0]) == f"picture {data.test.ids[0]}"


def test_pictures_of_an_official_split_are_named_by_their_place_in_it(monkeypatch):
    labels = (np.arange(600) % 10).astype(np.uint8)
    images = np.broadcast_to((np.arange(600) % 256).astype(np.uint8)[:, None, None], (600, 28, 28))
    fake = (images[:500], labels[:500]), (images[500:], labels[500:])
    monkeypatch.setattr("models.data.fashion_mnist.load_fashion_mnist", lambda root: fake)
    data = load_dataset("fashion_mnist", data_root="unused", seed=0)
    ids = torch.cat([data.train.ids, data.validation.ids, data.test.ids])
    assert sorted(ids.tolist()) == list(range(600))
    for split in (data.train, data.validation, data.test):
        assert np.array_equal(split.images[:, 0, 0, 0], images[split.ids.numpy(), 0, 0])
    assert [data.source_name(i) for i in (0, 499, 500, 599)] == ["train 0", "train 499", "test 0", "test 99"]
    for wrong in (-1, 600):
        with refused("599"):
            data.source_name(wrong)


def test_own_pictures_are_named_by_their_files(tmp_path):
    for number, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.new("RGB", (9, 9), (number * 100 + i, 0, 0)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "a" / "3.png").write_bytes(b"?")
    data = load_dataset(tmp_path, data_root="unused", seed=0, image_size=8)
    seen = {}
    for split in (data.train, data.validation, data.test):
        seen |= {data.source_name(i): int(p[0, 0, 0]) for i, p in zip(split.ids, split.images, strict=True)}
    assert seen == {f"{c}/{i}.png": 100 * n + i for n, c in enumerate("ab") for i in range(6) if (c, i) != ("a", 3)}


def test_splits_made_by_hand_count_from_zero():
    split = Split(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0]))
    assert split.ids.tolist() == [0, 1, 2] and split.ids.dtype == torch.int64
    taken = Split(split.images, split.labels, torch.tensor([7, 8, 9])).take(torch.tensor([2, 0]))
    assert taken.ids.tolist() == [9, 7] and taken.labels.tolist() == [0, 0] and taken.images.shape == (2, 1, 8, 8)
    data = Dataset("toy", ("a", "b"), split, split, split)
    assert data.source_name(8) == "picture 8"


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_splits_hold_every_class_in_proportion(name, seed):
    data = load_dataset(name, data_root="unused", seed=seed, shapes=SMALL)
    splits = (data.train, data.validation, data.test)
    counts = np.stack([torch.bincount(split.labels, minlength=len(data.categories)) for split in splits])
    share = counts.sum(0) / counts.sum()
    assert np.abs(counts - counts.sum(1, keepdims=True) * share).max() <= 1.5


def test_a_size_that_does_not_fit_in_memory_is_refused(monkeypatch):
    monkeypatch.setattr("models.data.datasets.MAX_BYTES", 1000)
    with refused("1797", "16 x 16", "digits"):
        load_dataset("digits", data_root="unused", seed=0, image_size=16)


def test_resizing_in_parts_is_resizing_at_once(monkeypatch):
    whole = load_dataset("digits", data_root="unused", seed=0).train.images
    monkeypatch.setattr("models.data.preprocessing._RESIZED_AT_ONCE", 100)
    assert torch.equal(load_dataset("digits", data_root="unused", seed=0).train.images, whole)


def test_the_table_and_its_order():
    assert list(DATASETS) == ["fashion_mnist", "shapes", "digits", "cifar10"]
    assert OWN_PICTURES.check_duplicates and not any(spec.check_duplicates for spec in DATASETS.values())


def test_unknown_name_lists_what_there_is():
    with refused("fashion_mnist or shapes"):
        load_dataset("cifar", data_root="unused", seed=0)


@pytest.mark.parametrize("size", [4, 1000])
def test_image_size_is_bounded(size):
    with refused("image_size"):
        shapes(image_size=size)


def test_table_entries_name_their_augmentations():
    from models.data.augment.augment import TRANSFORMS

    for spec in DATASETS.values():
        assert set(spec.augmentations) <= set(TRANSFORMS) and spec.title


def test_more_shapes_than_memory_holds_are_refused_before_they_are_drawn(tmp_path):
    shapes = ShapesConfig(num_images=200_000)
    with refused("200000", "256 x 256", "shapes", "36.6 GB"):
        load_dataset("shapes", data_root=tmp_path, seed=0, image_size=256, shapes=shapes)


def own(path, seed=0):
    return load_dataset(path, data_root="", seed=seed, image_size=16)


def parts(data) -> dict[str, list[str]]:
    """Split -> files in it."""
    return {
        name: [data.source_name(number) for number in getattr(data, name).ids.tolist()]
        for name in ("train", "validation", "test")
    }


def test_folders_of_a_divided_set_stay_its_parts(tmp_path):
    files = pictures(*(f"{part}/{name}" for part in ("train", "val", "test") for name in ("ants", "bees")))
    data = own(make_folder(tmp_path / "insects", files))
    for part, folder in (("train", "train"), ("validation", "val"), ("test", "test")):
        assert len(parts(data)[part]) == 12 and all(name.startswith(f"{folder}/") for name in parts(data)[part])
    assert data.categories == ("ants", "bees") and len(data.notes) == 1
    for split in (data.train, data.validation, data.test):
        for number, label in zip(split.ids.tolist(), split.labels.tolist(), strict=True):
            assert data.source_name(number).split("/")[1] == data.categories[label]


@pytest.mark.parametrize(("given", "drawn"), [("val", "test"), ("test", "validation")])
def test_a_part_without_a_folder_is_drawn_from_the_pictures_for_training(tmp_path, given, drawn):
    files = pictures("train/ants", "train/bees", count=10) | pictures(f"{given}/ants", f"{given}/bees", count=3)
    data = own(make_zip(tmp_path / "insects.zip", files))
    found = parts(data)
    assert len(found["train"]) == 17 and len(found[drawn]) == 3
    assert all(name.startswith("train/") for name in found["train"] + found[drawn])
    assert data.notes[-1] == f"3 of the pictures for training are kept for the {drawn}."
    assert parts(own(tmp_path / "insects.zip")) == found != parts(own(tmp_path / "insects.zip", seed=1))


def test_what_should_be_known_about_a_set_is_said_with_it(tmp_path):
    files = pictures("cats", "dogs") | {"cover.png": png(), "owls/a.txt": b"hello"}
    data = own(make_folder(tmp_path / "pets", files))
    assert data.warnings[0].startswith("2 files were left out; the first, cover.png, lies outside")
    assert data.warnings[1].startswith("The folder owls was left out") and len(data.warnings) == 2
    plain = own(make_folder(tmp_path / "plain", two_classes()))
    assert len(plain.warnings) == 1 and "one colour" in plain.warnings[0]
    assert shapes().warnings == ()


def test_a_path_that_is_not_utf8_is_known_by_its_readable_name(tmp_path):
    korean = os.fsdecode("사진".encode("cp949"))
    make_folder(tmp_path / korean, pictures("cats", "dogs"))
    name = full_path(str(tmp_path / korean))
    assert name == full_path(name) == str(tmp_path / "사진") and find_spec(name) is OWN_PICTURES
    assert own(name).name == own(tmp_path / korean).name == "사진"
    with pytest.raises(UserError) as caught:
        own(tmp_path / "none" / korean)
    str(caught.value).encode()


LABELS = np.repeat([0, 1, 2], [40, 40, 20])


def check_parts(found, num):
    together = np.concatenate([found[part] for part in ("train", "validation", "test")])
    assert sorted(together) == list(range(num)) and all((np.diff(index) > 0).all() for index in found.values())


def test_without_parts_every_class_has_its_share_in_each():
    found = divide(LABELS, [None] * 100, seed=3)
    check_parts(found, 100)
    assert [len(found[part]) for part in ("train", "validation", "test")] == [70, 15, 15]
    assert np.bincount(LABELS[found["test"]]).tolist() == [6, 6, 3]
    others, test = hold_out(LABELS, 15, 3)
    train, validation = hold_out(LABELS[others], 15, 3)
    assert (found["test"] == test).all() and (found["validation"] == others[validation]).all()
    assert (found["train"] == others[train]).all()


@pytest.mark.parametrize("given", [("train", "validation"), ("train", "test"), ("train", "validation", "test")])
def test_given_parts_are_kept(given):
    parts = [given[number % len(given)] for number in range(100)]
    found = divide(LABELS, parts, seed=0)
    check_parts(found, 100)
    for part in given[1:]:
        assert found[part].tolist() == [number for number, own in enumerate(parts) if own == part]
    missing = {"validation", "test"} - set(given)
    assert all(len(found[part]) == 8 for part in missing)  # 15 % of the 50 for training
    assert {parts[number] for part in missing for number in found[part]} <= {"train"}
