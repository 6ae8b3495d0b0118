"""Copies of photographs are found across splits, different photographs are not."""

import io
from dataclasses import replace

import imagehash
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from models.data import duplicates
from models.data.dataset import Dataset, Split
from models.data.duplicates import find_near_duplicates, hash_pictures
from tests.sentences import check_sentence, refused

SIDE = 64


def saved_again(image: Image.Image, quality=30) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


COPIES = {
    "the same": lambda image: image,
    "saved again": saved_again,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
}


def photographs() -> dict[str, Image.Image]:
    """Photographs that come with scikit-image."""
    from skimage import data

    names = ("astronaut", "chelsea", "coffee", "camera", "coins", "rocket", "retina", "hubble_deep_field", "moon")
    return {name: Image.fromarray(getattr(data, name)()).convert("RGB") for name in names}


def to_split(pictures, first_id=0) -> Split:
    small = [np.asarray(p.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).transpose(2, 0, 1) for p in pictures]
    images = torch.tensor(np.stack(small)) if small else torch.empty((0, 3, SIDE, SIDE), dtype=torch.uint8)
    return Split(images, torch.zeros(len(small), dtype=torch.int64), torch.arange(len(small)) + first_id)


def to_dataset(train, validation=(), test=()) -> Dataset:
    splits = (to_split(train), to_split(validation, 100), to_split(test, 200))
    return Dataset("pets", ("a",), *splits, file_names=tuple(f"a/{i}.jpg" for i in range(300)))


@pytest.mark.parametrize("change", COPIES)
def test_copies_are_found_and_nothing_else(change):
    originals = list(photographs().values())
    found = find_near_duplicates(to_dataset(originals, test=[COPIES[change](image) for image in originals]))
    assert sorted((pair.id, pair.other_id) for pair in found.pairs) == [(i, 200 + i) for i in range(len(originals))]
    assert found.num_pairs == found.num_held_out == len(originals)
    assert {(pair.split, pair.other_split) for pair in found.pairs} == {("train", "test")}


def test_different_photographs_and_copies_in_one_split_are_no_warning():
    pictures = list(photographs().values())
    dataset = to_dataset([*pictures[:3], *map(saved_again, pictures[:3])], pictures[3:6], pictures[6:])
    found = find_near_duplicates(dataset)
    assert found.pairs == () and found.num_pairs == found.num_held_out == 0 and found.describe(dataset) == ""


def test_every_two_splits_are_compared_and_the_sentence_names_the_nearest():
    cat, cup, moon = (photographs()[name] for name in ("chelsea", "coffee", "moon"))
    dataset = to_dataset([cat, cup], [saved_again(cat, 20), moon], [moon])
    found = find_near_duplicates(dataset)
    assert {(p.split, p.id, p.other_split, p.other_id) for p in found.pairs} == {
        ("train", 0, "validation", 100),
        ("validation", 101, "test", 200),
    }
    assert found.pairs[0].distance == 0 and found.num_held_out == 3
    check_sentence(found.describe(dataset), 3, "a/0.jpg (train)", "a/100.jpg (validation)")


def test_plain_pictures_are_left_out():
    plain = [Image.new("RGB", (SIDE, SIDE), color) for color in ("red", "white")]
    assert find_near_duplicates(to_dataset(plain, plain, plain)).pairs == ()


@pytest.mark.parametrize("channels", [1, 3])
def test_hashes_are_those_of_the_library(channels):
    images = torch.tensor(np.random.default_rng(0).integers(256, size=(6, channels, 40, 40), dtype=np.uint8))
    for image, found in zip(images, hash_pictures(images), strict=True):
        picture = Image.fromarray(image[0].numpy() if channels == 1 else image.permute(1, 2, 0).numpy())
        assert found.tobytes().hex() == str(imagehash.phash(picture))
    assert hash_pictures(images[:0]).shape == (0,)


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=12),
    st.lists(st.integers(0, 2**64 - 1), max_size=12),
    st.integers(0, 40),
    st.integers(1, 30),
)
def test_comparisons_in_chunks_are_all_comparisons(one, other, max_distance, at_once):
    before, duplicates._DISTANCES_AT_ONCE = duplicates._DISTANCES_AT_ONCE, at_once
    try:
        chunks = duplicates._compare(np.array(one, np.uint64), np.array(other, np.uint64), max_distance)
        found = {tuple(map(int, hit)) for chunk in chunks for hit in zip(*chunk, strict=True)}
    finally:
        duplicates._DISTANCES_AT_ONCE = before
    expected = {(i, j, (a ^ b).bit_count()) for i, a in enumerate(one) for j, b in enumerate(other)}
    assert found == {hit for hit in expected if hit[2] <= max_distance}


def test_a_flood_of_copies_is_bounded(monkeypatch):
    monkeypatch.setattr(duplicates, "MAX_PAIRS", 5)
    cat = photographs()["chelsea"]
    found = find_near_duplicates(to_dataset([cat] * 10, [cat] * 3))
    assert len(found.pairs) == 5 and found.num_pairs == 30 and found.num_held_out == 3


def test_cancelling_and_progress():
    dataset, heard = to_dataset(list(photographs().values())), []
    find_near_duplicates(dataset, progress=lambda fraction, message: heard.append(fraction))
    assert heard and heard == sorted(heard) and heard[-1] <= 1

    def cancel(fraction, message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_near_duplicates(dataset, progress=cancel)
    with refused("max_distance"):
        find_near_duplicates(dataset, max_distance=40)


def test_the_same_picture_under_two_labels_is_two_labels_and_no_copy():
    """Whether both are in one split or in two; copies within the class are still copies."""
    cat, cup, moon = (photographs()[name] for name in ("chelsea", "coffee", "moon"))
    dataset = to_dataset([cat, saved_again(cat), cup], [saved_again(cup)], [moon])
    labels = torch.tensor([0, 1, 0])
    dataset = replace(dataset, train=replace(dataset.train, labels=labels), categories=("a", "b"))
    found = find_near_duplicates(dataset)
    assert [(p.split, p.id, p.other_split, p.other_id) for p in found.pairs] == [("train", 2, "validation", 100)]
    assert [(p.split, p.id, p.other_split, p.other_id) for p in found.two_labels] == [("train", 0, "train", 1)]
    assert (found.num_held_out, found.num_two_labels) == (1, 2)
    copies, two_labels = found.warn(dataset)
    assert "copies" in copies and "a/2.jpg" in copies
    assert "label" in two_labels and "a/0.jpg and a/1.jpg" in two_labels
    dataset = replace(dataset, validation=replace(dataset.validation, labels=torch.tensor([1])))
    found = find_near_duplicates(dataset)
    assert found.pairs == () and found.num_two_labels == 4 and found.describe(dataset) == ""
