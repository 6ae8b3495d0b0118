"""Features computed once: the same numbers, the same head, and files that may be lost or damaged."""

import os

import pytest
import torch
from torch import nn

from models.data.preprocessing import Preprocessing
from models.networks.transfer import TransferConfig, TransferNet, load_backbone_weights, prepare_mode
from models.runs import tensor_files
from models.runs.run import list_runs
from models.training.feature_cache import FeatureCache, compute_features
from tests.sentences import refused

PREPROCESSING = Preprocessing(crop_size=32, resize_size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
IMAGES = torch.randint(0, 256, (22, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(22) % 3


def build(backbone="shufflenet_v2_x0_5", **options) -> TransferNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = TransferConfig(num_classes=3, image_size=32, backbone=backbone, **options)
        return TransferNet(config).to(memory_format=torch.channels_last)


def normalize(images):
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (PREPROCESSING.mean, PREPROCESSING.std))
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def count_passes(net, monkeypatch):
    """Batch sizes of all passes through the backbone from here on."""
    sizes, extract = [], net.extract_features
    monkeypatch.setattr(net, "extract_features", lambda x: sizes.append(len(x)) or extract(x))
    return sizes


def test_features_are_the_networks_bit_for_bit():
    net, seen = build().train(), []
    features = compute_features(net, IMAGES, PREPROCESSING, batch_size=8, progress=lambda *done: seen.append(done))
    assert net.training and net.backbone.training
    net.eval()
    with torch.no_grad():
        expected = torch.cat([net.extract_features(normalize(part)) for part in IMAGES.split(8)])
    assert torch.equal(features, expected) and features.shape == (22, net.config.num_features)
    assert seen == [(8, 22), (16, 22), (22, 22)]


def test_another_batch_size_changes_only_the_last_bits():
    net = build()
    features = [compute_features(net, IMAGES, PREPROCESSING, batch_size=size) for size in (22, 5, 1)]
    for other in features[1:]:
        torch.testing.assert_close(other, features[0], rtol=1e-5, atol=1e-5 * features[0].abs().max().item())


def train_head(net, inputs, forward):
    optimizer = torch.optim.SGD(net.head.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    order = torch.Generator().manual_seed(3)
    for _ in range(4):
        for index in torch.randperm(len(inputs), generator=order).split(6):
            optimizer.zero_grad()
            nn.functional.cross_entropy(forward(inputs[index]), LABELS[index]).backward()
            optimizer.step()


def test_training_on_features_is_training_through_the_frozen_network():
    through, on_features = (build("efficientnet_lite0", dropout=0.0) for _ in range(2))
    before = through.head.classifier.weight.clone()
    for net in (through, on_features):
        load_backbone_weights(net)
        prepare_mode(net, "frozen")
        net.train()
    train_head(through, IMAGES, lambda images: through(normalize(images)))
    train_head(on_features, compute_features(on_features, IMAGES, PREPROCESSING), on_features.head)
    assert (through.head.classifier.weight - before).abs().max() > 1e-3
    for name, value in through.head.state_dict().items():
        torch.testing.assert_close(on_features.head.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_it_stops_between_batches():
    net, done = build(), []
    stop = lambda: len(done) == 2  # noqa: E731
    found = compute_features(
        net, IMAGES, PREPROCESSING, batch_size=4, stop=stop, progress=lambda count, _: done.append(count)
    )
    assert found is None and done == [4, 8] and net.training


def test_a_progress_that_raises_leaves_the_flags_as_they_were():
    net = build()

    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute_features(net, IMAGES, PREPROCESSING, progress=cancel)
    assert net.training and net.backbone.training


def test_batches_are_halved_until_they_fit(monkeypatch):
    net, expected = build(), compute_features(build(), IMAGES, PREPROCESSING, batch_size=4)
    extract = net.extract_features

    def fits_four(x):
        if len(x) > 4:
            raise torch.OutOfMemoryError
        return extract(x)

    monkeypatch.setattr(net, "extract_features", fits_four)
    assert torch.equal(compute_features(net, IMAGES, PREPROCESSING, batch_size=16), expected)


def test_a_picture_that_does_not_fit_is_said(monkeypatch):
    net = build()

    def never(x):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(net, "extract_features", never)
    with refused():
        compute_features(net, IMAGES, PREPROCESSING)
    assert net.training


def test_a_second_training_finds_its_features(tmp_path, monkeypatch):
    first = FeatureCache(tmp_path).get(build(), IMAGES, PREPROCESSING, batch_size=8)
    # Another head and other settings of the training do not change the features.
    other = build(mode="frozen_then_unfrozen", dropout=0.5)
    nn.init.zeros_(other.head.classifier.weight)
    sizes = count_passes(other, monkeypatch)
    assert torch.equal(FeatureCache(tmp_path).get(other, IMAGES, PREPROCESSING, batch_size=8), first)
    assert sizes == []
    assert list_runs(tmp_path) == []


@pytest.mark.parametrize("change", ["weights", "statistics", "pictures", "mean", "batch_size"])
def test_whatever_decides_the_features_decides_the_file(change, tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path)
    cache.get(build(), IMAGES, PREPROCESSING, batch_size=8)
    net, images, preprocessing, batch_size = build(), IMAGES.clone(), PREPROCESSING, 8
    if change == "weights":
        with torch.no_grad():
            next(net.backbone.parameters())[0, 0, 0, 0] += 1e-6
    elif change == "statistics":
        next(net.backbone.buffers())[0] += 1e-6
    elif change == "pictures":
        images[-1, -1, -1, -1] ^= 1
    elif change == "mean":
        preprocessing = Preprocessing(crop_size=32, resize_size=32, mean=(0.4, 0.5, 0.61), std=PREPROCESSING.std)
    else:
        batch_size = 7
    sizes = count_passes(net, monkeypatch)
    cache.get(net, images, preprocessing, batch_size=batch_size)
    assert sum(sizes) == 22
    assert len(list(cache.folder.iterdir())) == 2


@pytest.mark.parametrize("damage", ["half", "nan", "shape", "name", "half precision"])
def test_a_damaged_file_is_computed_anew(damage, tmp_path):
    from safetensors.torch import save_file

    cache = FeatureCache(tmp_path)
    features = cache.get(build(), IMAGES, PREPROCESSING)
    (path,) = cache.folder.iterdir()
    if damage == "half":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "nan":
        save_file({"features": torch.full_like(features, torch.nan)}, path)
    elif damage == "shape":
        save_file({"features": features[1:]}, path)
    elif damage == "half precision":
        save_file({"features": features.half()}, path)
    else:
        save_file({"other": features}, path)
    assert torch.equal(cache.get(build(), IMAGES, PREPROCESSING), features)
    assert torch.equal(FeatureCache(tmp_path).get(build(), IMAGES, PREPROCESSING), features)


def test_what_was_used_longest_ago_goes_first(tmp_path):
    net = build()
    sets = [IMAGES[start : start + 8] for start in range(4)]
    one = sum(file.stat().st_size for file in self_written(tmp_path / "probe", net, sets[:1]))
    cache = FeatureCache(tmp_path, max_bytes=3 * one)
    paths = []
    for images in sets[:3]:
        cache.get(net, images, PREPROCESSING)
        paths += [path for path in cache.folder.iterdir() if path not in paths]
    for age, path in zip((300, 200, 100), paths, strict=True):
        os.utime(path, (10**9 - age, 10**9 - age))
    cache.get(net, sets[0], PREPROCESSING)  # the oldest is used again
    leftover = cache.folder / f".{paths[0].name}.1"
    leftover.write_bytes(b"half a file")
    os.utime(leftover, (10**9, 10**9))
    cache.get(net, sets[3], PREPROCESSING)
    assert [path.exists() for path in paths] == [True, False, True]
    assert not leftover.exists() and len(list(cache.folder.iterdir())) == 3


def self_written(folder, net, sets):
    cache = FeatureCache(folder)
    for images in sets:
        cache.get(net, images, PREPROCESSING)
    return list(cache.folder.iterdir())


def test_a_full_disk_costs_only_time(tmp_path, monkeypatch, caplog):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_files, "write_bytes", full)
    assert FeatureCache(tmp_path).get(build(), IMAGES, PREPROCESSING).shape == (22, 1024)
    assert "No space left on device" in caplog.text


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path):
    cache = FeatureCache(tmp_path, max_bytes=1000)
    assert cache.get(build(), IMAGES, PREPROCESSING).shape == (22, 1024)
    assert not cache.folder.exists()


def test_nothing_is_kept_of_what_was_stopped(tmp_path):
    cache = FeatureCache(tmp_path)
    assert cache.get(build(), IMAGES, PREPROCESSING, stop=lambda: True) is None
    assert not cache.folder.exists()
