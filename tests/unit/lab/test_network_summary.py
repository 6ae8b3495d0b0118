"""Networks are summed up for the data that are chosen, before either exists."""

import zipfile

import pytest
import torch

from lab.network_summary import CONTENTS, find_kind, fit_kind, summarize_network
from models.data.datasets import DATASETS, load_dataset
from models.data.fashion_mnist import find_files
from models.data.shapes import ShapesConfig
from models.networks.table import ARCHITECTURES
from models.settings import build_config
from models.training.config import TrainingConfig
from tests.sentences import refused


@pytest.mark.parametrize("name", DATASETS)
def test_what_is_said_of_a_data_set_is_true(name, tmp_path):
    kind = find_kind(name)
    if name == "cifar10" or (name == "fashion_mnist" and find_files(tmp_path) is None):
        pytest.skip("its files are not on this machine")
    dataset = load_dataset(name, data_root=tmp_path, seed=0, shapes=ShapesConfig(num_images=60))
    assert (kind.in_channels, kind.num_classes) == (dataset.in_channels, len(dataset.categories))
    assert kind.image_size == dataset.image_size and not kind.note


def test_every_data_set_is_known():
    assert set(CONTENTS) == set(DATASETS) and CONTENTS["cifar10"] == (3, 10)


def test_classes_of_own_pictures_are_counted_without_opening_them(tmp_path):
    for category in ("cats", "dogs", "owls"):
        for number in range(2):
            path = tmp_path / "set" / category / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"not opened")
    packed = tmp_path / "set.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in (tmp_path / "set").rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path))
    for source in (tmp_path / "set", packed):
        kind = find_kind(source, 96)
        assert (kind.in_channels, kind.num_classes, kind.image_size, kind.note) == (3, 3, 96, "")


def test_a_zip_is_counted_again_when_it_is_another_one(tmp_path):
    packed = tmp_path / "set.zip"
    for categories in ("ab", "abcd"):
        with zipfile.ZipFile(packed, "w") as archive:
            for category in categories:
                archive.writestr(f"{category}/1.png", b"")
        assert find_kind(packed).num_classes == len(categories)


def test_what_is_no_data_set_is_refused(tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with refused("broken.zip"):
        find_kind(tmp_path / "broken.zip")
    with refused():
        find_kind(tmp_path / "missing.zip")


def test_before_pictures_are_chosen_it_says_what_is_assumed():
    kind = find_kind(None)
    assert kind.num_classes == 2 and "2 classes" in kind.note
    assert find_kind(None, num_classes=5).note == ""


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "transfer"])
def test_parameters_are_those_of_the_network_itself(name):
    kind = find_kind("digits")
    config_class, model_class = ARCHITECTURES[name]
    config = build_config(config_class, {"num_classes": 10, "in_channels": 1, "image_size": 32})
    with torch.random.fork_rng():
        network = model_class(config)
    assert summarize_network(name, {}, kind).num_params == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("configuration", "millions"), [("A", 133), ("E", 144)])
def test_full_vgg_has_its_published_size(configuration, millions):
    kind = find_kind(None, 224, 1000)
    summary = summarize_network("vgg", {"configuration": configuration, "width": 1.0}, kind)
    assert round(summary.num_params / 1e6) == millions
    # Simonyan & Zisserman's network E takes about 19.6 thousand million multiply-adds.
    assert configuration == "A" or summary.multiply_adds == pytest.approx(19.6e9, rel=0.01)


@pytest.mark.parametrize("dataset", ["digits", "shapes"])
def test_pretrained_backbones_take_grey_and_colour(dataset):
    summary = summarize_network("transfer", {"backbone": "efficientnet_lite0"}, find_kind(dataset, 64))
    assert summary.rows[-1].output_shape == (find_kind(dataset).num_classes,)
    assert summary.rows[-1].num_params == 1281 * find_kind(dataset).num_classes


@pytest.mark.parametrize("dataset", ["fashion_mnist", "shapes", None])
@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("small_cnn", {}),
        ("mlp", {}),
        *(("transfer", {"backbone": name}) for name in ("vit_b_16", "mobilenet_v3_small")),
    ],
)
def test_without_a_chosen_size_pictures_are_as_large_as_in_training(dataset, architecture, options):
    kind = fit_kind(architecture, options, find_kind(dataset))
    config = TrainingConfig(dataset=dataset or "/pictures", architecture=architecture, model=options)
    assert kind.image_size == config.picture_size
    assert fit_kind(architecture, options, kind) == kind


def test_a_backbone_costs_what_it_costs_at_its_own_size():
    """The summary had it at the size of the data set: a twelfth of the multiply-adds, and no vision transformers."""
    options, kind = {"backbone": "mobilenet_v3_small"}, find_kind(None, num_classes=1000)
    summary = summarize_network("transfer", options, fit_kind("transfer", options, kind))
    assert summary.multiply_adds == pytest.approx(57e6, rel=0.05)  # as torchvision states for 224 pixels
    transformer = {"backbone": "vit_b_16"}
    assert summarize_network("transfer", transformer, fit_kind("transfer", transformer, kind)).num_params > 85e6


def test_what_cannot_work_is_refused_with_the_numbers():
    kind = find_kind("fashion_mnist")
    with refused("28 x 28", "7"):
        summarize_network("small_cnn", {"channels": (8,) * 8}, kind)
    for ask in (summarize_network, fit_kind):
        with refused():
            ask("hugenet", {}, kind)
    with refused("colour"):
        summarize_network("small_cnn", {"colour": 1}, kind)
