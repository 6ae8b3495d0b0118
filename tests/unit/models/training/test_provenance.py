"""Which data a training used: hashes that tell any change, and ids that survive being written."""

import hashlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.dataset import Dataset, Split
from models.data.datasets import load_dataset
from models.data.shapes import ShapesConfig
from models.training.config import TrainingConfig
from models.training.provenance import (
    SPLITS,
    check_data,
    describe_config,
    describe_environment,
    format_ids,
    identify_data,
    is_sha256,
    read_ranges,
)
from tests.sentences import refused


def make_split(seed: int, count: int, first_id: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(count) % 2, torch.arange(first_id, first_id + count))


@pytest.fixture
def dataset() -> Dataset:
    train, validation, test = make_split(0, 6, 0), make_split(1, 2, 6), make_split(2, 2, 8)
    return Dataset("tiny", ("ant", "bee"), train, validation, test)


def test_the_hash_is_that_of_pictures_and_labels(dataset):
    found = identify_data(dataset)
    train = found["splits"]["train"]
    header = b"(6, 3, 4, 4) torch.uint8 torch.int64\n"
    images, labels = dataset.train.images.numpy().tobytes(), dataset.train.labels.numpy().tobytes()
    assert train["sha256"] == hashlib.sha256(header + images + labels).hexdigest()
    assert (train["count"], train["per_class"], train["ids"]) == (6, [3, 3], "0-5")
    assert found["splits"]["test"]["ids"] == "8-9"
    assert {key: found[key] for key in ("name", "categories", "image_size", "in_channels")} == {
        "name": "tiny",
        "categories": ["ant", "bee"],
        "image_size": 4,
        "in_channels": 3,
    }
    check_data(found)


def change_pixel(split: Split) -> Split:
    images = split.images.clone()
    images[-1, -1, -1, -1] += 1
    return replace(split, images=images)


CHANGES = {
    "pixel": change_pixel,
    "label": lambda split: replace(split, labels=1 - split.labels),
    "order": lambda split: split.take(torch.arange(len(split)).flip(0)),
    "shape": lambda split: replace(split, images=split.images.reshape(-1, 1, 6, 8)),
}


@pytest.mark.parametrize("part", SPLITS)
@pytest.mark.parametrize("change", CHANGES)
def test_any_change_shows(dataset, part, change):
    before = identify_data(dataset)
    after = identify_data(replace(dataset, **{part: CHANGES[change](getattr(dataset, part))}))
    assert after["sha256"] != before["sha256"]
    for other in SPLITS:
        assert (after["splits"][other]["sha256"] != before["splits"][other]["sha256"]) is (other == part)
    assert identify_data(replace(dataset, categories=("ant", "wasp")))["sha256"] != before["sha256"]
    assert identify_data(replace(dataset, name="other"))["sha256"] == before["sha256"]


def test_the_layout_in_memory_does_not_matter(dataset):
    images = dataset.train.images.contiguous(memory_format=torch.channels_last)
    changed = replace(dataset, train=replace(dataset.train, images=images))
    assert identify_data(changed) == identify_data(dataset)


def test_the_splits_of_a_real_set_are_told_apart():
    shapes = ShapesConfig(num_images=120)
    load = {"data_root": "data", "image_size": 16, "shapes": shapes}
    first, again, other = (identify_data(load_dataset("shapes", seed=seed, **load)) for seed in (0, 0, 1))
    assert first == again and first["sha256"] != other["sha256"]
    check_data(first)
    ids = [set(expand(first["splits"][part]["ids"])) for part in SPLITS]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 120


def expand(text: str) -> list[int]:
    return [number for first, last in read_ranges(text) for number in range(first, last + 1)]


@settings(max_examples=40)
@given(st.sets(st.integers(0, 400) | st.integers(0, 10**8)))
def test_ids_survive_being_written(ids):
    text = format_ids(torch.tensor(sorted(ids, key=str), dtype=torch.int64))
    assert expand(text) == sorted(ids)
    assert text.count(",") < max(len(ids), 1)


def test_ranges_look_like_this():
    assert format_ids(torch.tensor([7, 0, 1, 2, 9])) == "0-2,7,9"


@pytest.mark.parametrize(
    "text",
    [None, 5, [], "a", "1-", "-1", "1,,2", "2,1", "1,1", "3-2", "0-1,1-2", "1 ", "²", "9" * 5000, "0-9999999999"],
)
def test_hostile_ids_are_refused(text):
    with refused():
        read_ranges(text)


def test_huge_ranges_are_counted_without_being_unfolded():
    assert read_ranges("0-999999999") == [(0, 999_999_999)]


@pytest.mark.parametrize(
    "change",
    [
        {"name": 3},
        {"sha256": "x" * 64},
        {"sha256": None},
        {"categories": [1]},
        {"splits": {}},
        {"splits": dict.fromkeys(SPLITS, 1)},
        {"splits": {part: {"sha256": "0" * 64} for part in SPLITS}},
        {"splits": {part: {"sha256": "0" * 64, "count": 3, "ids": "0-1"} for part in SPLITS}},
    ],
    ids=str,
)
def test_contradictions_are_refused(dataset, change):
    with refused():
        check_data(identify_data(dataset) | change)


@pytest.mark.parametrize("value", [None, 1, "", "A" * 64, "0" * 63, ["0"] * 64])
def test_what_is_no_sha256(value):
    assert not is_sha256(value)
    assert is_sha256(hashlib.sha256().hexdigest())


@pytest.mark.parametrize("place", ["/home/alice/secret/photos.zip", "photos.zip", "/home/alice/photos.zip/"])
def test_a_configuration_to_hand_on_names_no_folder(place):
    config = TrainingConfig(dataset=place, data_root="/home/alice/data").to_dict()
    found = describe_config(config)
    assert found == config | {"dataset": "photos.zip", "data_root": "data"}
    assert TrainingConfig.from_dict(found).dataset == "photos.zip"
    assert describe_config({"seed": 1}) == {"seed": 1}


def test_the_environment_has_versions_and_no_name_of_the_machine():
    import platform

    found = describe_environment("cpu")
    assert found["torch"] == torch.__version__ and found["threads"] == torch.get_num_threads()
    assert found["device"] == "cpu" and found["cuda"] is None and found["device_name"]
    assert platform.node() not in found.values()
