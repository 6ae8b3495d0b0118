"""Loading by name or path, and splits that are disjoint, stratified and decided by the seed."""

import numpy as np
import pytest
import torch
from PIL import Image

from models.data import DATASETS, load_dataset
from models.errors import ModelsError
from models.shapes import ShapesConfig

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
    monkeypatch.setattr("models.fashion_mnist.load_fashion_mnist", lambda root: fake)
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


def test_unknown_name_lists_what_there_is():
    with pytest.raises(ModelsError, match="fashion_mnist or shapes"):
        load_dataset("cifar", data_root="unused", seed=0)


@pytest.mark.parametrize("size", [4, 1000])
def test_image_size_is_bounded(size):
    with pytest.raises(ModelsError, match="image_size"):
        shapes(image_size=size)


def test_table_entries_name_their_augmentations():
    from models.augment import AUGMENTATIONS

    for spec in DATASETS.values():
        assert set(spec.augmentations) <= set(AUGMENTATIONS) and spec.title
