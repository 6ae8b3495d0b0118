"""What is said about a data set is what is in it; asking again costs nothing; cancelling works."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.errors import Cancelled, UserError
from lab import data_overview
from lab.data_overview import CACHE_BYTES, describe_data, measure_class_means
from lab.lru import RecentResults
from models.data import cifar10
from models.data.dataset import Split
from models.data.datasets import load_dataset
from models.data.shapes import ShapesConfig
from tests.sentences import refused

SMALL = ShapesConfig(num_images=300)


def describe(name="shapes", **options):
    given = {"data_root": "unused", "seed": 0, "shapes": SMALL, "cache": RecentResults(CACHE_BYTES)}
    return describe_data(name, **given | options)


@pytest.fixture
def pets(tmp_path, chelsea):
    """Two classes with different photographs in patches, one broken file and one copy."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "pets"
    for category, count in (("cats", 60), ("dogs", 12)):
        (folder / category).mkdir(parents=True)
        for i in range(count):
            coarse = rng.integers(256, size=(6, 6, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC).save(folder / category / f"{i}.png")
    (folder / "cats" / "broken.png").write_bytes(b"?")
    return folder


def test_means_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(50, 3, 8, 9), dtype=np.uint8)
    labels = rng.integers(4, size=50)
    means = measure_class_means(Split(torch.tensor(images), torch.tensor(labels)), 5)
    for label in range(4):
        total, count = np.zeros((3, 8, 9)), 0
        for image, its_label in zip(images, labels, strict=True):
            if its_label == label:
                total, count = total + image, count + 1
        np.testing.assert_array_equal(means[label].numpy(), (total / count).round())
    assert means[4].max() == 0 and means.dtype == torch.uint8


def test_means_in_parts_are_means_at_once(monkeypatch):
    split = load_dataset("shapes", data_root="", seed=0, shapes=SMALL).train
    whole = measure_class_means(split, 6)
    for values in (1, 7 * split.images[0].numel()):
        monkeypatch.setattr(data_overview, "_CHUNK_VALUES", values)
        assert torch.equal(measure_class_means(split, 6), whole)


def test_means_of_large_pictures_take_little_memory(monkeypatch):
    """Also of many in one class: no step may take more numbers than its chunk, each of eight bytes."""

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor) and not function.is_view:
                self.numbers = max(self.numbers, made.numel())
            return made

    split = Split(torch.zeros(200, 3, 40, 40, dtype=torch.uint8), torch.arange(200) % 2)
    monkeypatch.setattr(data_overview, "_CHUNK_VALUES", 3 * 4800)
    with Largest() as largest:
        measure_class_means(split, 2)
    assert largest.numbers <= 3 * 4800


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_everything_agrees_with_the_data_set(name):
    overview = describe(name, seed=4, per_class=5)
    data = load_dataset(name, data_root="", seed=4, shapes=SMALL)
    for split, counts in overview.counts.items():
        labels = getattr(data, split).labels.tolist()
        assert counts == tuple(labels.count(number) for number in range(len(data.categories)))
    assert overview.preview.labels.tolist() == [n for n in range(len(data.categories)) for _ in range(5)]
    places = {number: place for place, number in enumerate(data.train.ids.tolist())}
    for picture, label, number in zip(
        overview.preview.images, overview.preview.labels, overview.preview.ids.tolist(), strict=True
    ):
        assert torch.equal(picture, data.train.images[places[number]]) and label == data.train.labels[places[number]]
    assert overview.mean == data.preprocessing().mean and overview.std == data.preprocessing().std
    assert overview.duplicates is None and overview.warnings == ()


def test_the_document_is_json_without_pictures(pets):
    overview = describe(pets)
    document = json.loads(json.dumps(overview.to_json(), allow_nan=False))
    assert document["sizes"] == {"train": 50, "validation": 11, "test": 11}
    assert document["image"] == {"channels": 3, "height": 64, "width": 64}
    assert document["counts"]["train"][0] + document["counts"]["train"][1] == 50
    assert document["num_skipped"] == 1 and "broken.png" in document["skipped"][0]
    none = {"pairs": [], "num_pairs": 0, "num_held_out": 0, "two_labels": [], "num_two_labels": 0}
    assert document["near_duplicates"] == none
    assert overview.preview_names[0].startswith("cats/")
    assert [warning.split(" left out")[0] for warning in document["warnings"]] == ["1 file was"]


def test_copies_and_imbalance_are_warned_of(pets, tmp_path):
    for i in range(12):  # every dog again, smaller, as other files
        Image.open(pets / "dogs" / f"{i}.png").resize((30, 30)).save(pets / "dogs" / f"copy{i}.png")
    overview = describe(pets, seed=1)
    assert overview.duplicates.num_held_out >= 3
    assert any("look almost like one in another split" in warning for warning in overview.warnings)
    for i in range(60, 200):
        Image.effect_noise((20, 20), 90).save(pets / "cats" / f"{i}.png")
    for path in pets.glob("dogs/copy*"):
        path.unlink()
    assert any("The class cats has" in warning and "dogs only" in warning for warning in describe(pets).warnings)


def test_asking_again_costs_nothing_until_something_changes(pets, monkeypatch):
    loads = []
    monkeypatch.setattr(data_overview, "load_dataset", lambda *a, **o: loads.append(a) or load_dataset(*a, **o))
    cache = RecentResults(CACHE_BYTES)
    first = describe(pets, cache=cache)
    assert describe(pets, cache=cache) is first and len(loads) == 1
    (pets / "cats" / "0.png").rename(pets / "dogs" / "1000.png")
    assert describe(pets, cache=cache).counts != first.counts and len(loads) == 2
    for options in ({"seed": 1}, {"image_size": 16}, {"per_class": 3}):
        describe(pets, cache=cache, **options)
        describe(pets, cache=cache, **options)
    assert len(loads) == 5


def test_answers_are_kept_as_far_as_they_fit():
    size = describe().num_bytes
    cache, small = RecentResults(2 * size + 10), RecentResults(10)
    overviews = [describe(seed=seed, cache=cache) for seed in range(3)]
    assert len(cache) == 2 and describe(seed=2, cache=cache) is overviews[2]
    assert describe(cache=small).counts == overviews[0].counts and len(small) == 0


def test_many_classes_show_fewer_pictures_each(monkeypatch):
    monkeypatch.setattr(data_overview, "MAX_PREVIEWS", 12)
    assert torch.bincount(describe(per_class=50).preview.labels).tolist() == [2] * 6
    monkeypatch.setattr(data_overview, "MAX_PREVIEWS", 2)
    assert torch.bincount(describe(per_class=50).preview.labels).tolist() == [1] * 6


def test_progress_rises_to_the_end_and_may_cancel_anywhere(pets):
    heard = []
    describe(pets, progress=lambda done, total: heard.append((done, total)))
    assert heard == sorted(heard) and heard[-1] == (100, 100) and {total for _, total in heard} == {100}
    for stop in range(len(heard) - 1):
        calls, cache = iter(range(1000)), RecentResults(CACHE_BYTES)

        def cancel(done, total, calls=calls, stop=stop):
            if next(calls) == stop:
                raise Cancelled

        with pytest.raises(Cancelled):
            describe(pets, progress=cancel, cache=cache)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nothing", {}),
        ("shapes", {"per_class": 0}),
        ("shapes", {"image_size": 7}),
        ("shapes", {"seed": -1}),
        ("shapes", {"seed": 1.5}),
    ],
)
def test_what_cannot_be_is_refused(name, options):
    with pytest.raises(UserError):
        describe(name, **options)


def test_missing_files_are_said_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "URL", "http://127.0.0.1:9/nothing.tar.gz")
    with refused("CIFAR-10"):
        describe("cifar10", data_root=tmp_path)
