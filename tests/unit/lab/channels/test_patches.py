"""Patches of a data set: against brute force, kept in files, cut out as they were."""

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.errors import Cancelled
from analysis.network.layers import extract_features
from lab.channels import patches as module_under_test
from lab.channels.patches import FOLDER, cut_patches, estimate_seconds, find_patches
from lab.channels.pictures import SAMPLES, list_data, open_pictures
from lab.session import Lab
from tests.device import DEVICE
from tests.sentences import refused


@pytest.fixture
def data(tmp_path):
    """Own pictures, 7 ants and 5 bees, one of them broken."""
    rng = np.random.default_rng(0)
    for name, count in (("ant", 7), ("bee", 5)):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(count):
            picture = Image.fromarray(rng.integers(0, 256, (10, 12), dtype=np.uint8))
            picture.save(tmp_path / "own" / name / f"{number}.png")
    return tmp_path / "own"


@pytest.fixture
def lab(tmp_path, make_run):
    make_run(tmp_path / "runs")
    return Lab(DEVICE, data_root=tmp_path, runs_root=tmp_path / "runs")


def find_layer_name(lab):
    return next(layer.name for layer in lab.layers("run/tiny") if layer.is_feature_map)


def test_they_are_those_of_brute_force_and_are_cut_out_of_their_pictures(lab, data):
    layer = find_layer_name(lab)
    found = find_patches(lab, "run/tiny", layer, str(data))
    with open_pictures(lab, "run/tiny", str(data), 100) as pictures, lab.use("run/tiny") as (loaded, _):
        pixels = torch.stack([pictures.pixels(loaded.spec, number) for number in range(12)])
        maps = extract_features(loaded.module, loaded.to_inputs(pixels), layer)
    peaks = maps.flatten(2).amax(2)  # (12, C)
    for channel in range(maps.shape[1]):
        expected = peaks[:, channel].argsort(descending=True)[:9]
        assert torch.equal(found.strongest.pictures[channel], expected)
        for patch, number in zip(cut_patches(lab, found, channel), expected.tolist(), strict=True):
            top, left, bottom, right = patch.frame.box
            assert torch.equal(patch.pixels, pixels[number, :, top:bottom, left:right])
            assert patch.value == pytest.approx(float(peaks[number, channel]), abs=1e-5)
            assert patch.name == found.names[number] and patch.category == patch.name.split("/")[0]
    document = found.to_json([1])
    assert [row["channel"] for row in document["channels"]] == [1] and document["num_pictures"] == 12
    first = document["channels"][0]["patches"][0]
    assert set(first) == {"value", "picture", "name", "cell", "centre", "box"} and document["placement"] == "centres"
    with refused("0 to 3"):
        cut_patches(lab, found, 4)


def test_the_second_time_nothing_is_computed_until_something_changes(lab, data, make_run, monkeypatch):
    layer, calls = find_layer_name(lab), []
    search = module_under_test.find_strongest
    monkeypatch.setattr(module_under_test, "find_strongest", lambda *a, **k: calls.append(1) or search(*a, **k))

    def find(limit=100, **options):
        return find_patches(lab, "run/tiny", layer, str(data), limit, **options)

    assert find(only_kept=True) is None
    first, again = find(), find()
    assert calls == [1] and again.was_kept and not first.was_kept
    assert first.to_json() == again.to_json()
    assert find(only_kept=True).to_json() == first.to_json()
    find(limit=5)
    assert len(calls) == 2
    make_run(lab.runs_root, seed=1)
    find()
    assert len(calls) == 3
    Image.new("L", (9, 9)).save(data / "bee" / "9.png")
    find()
    assert len(calls) == 4
    assert {path.suffix for path in (lab.runs_root / FOLDER).iterdir()} == {".safetensors"}


@pytest.mark.parametrize("damage", ["half", "cells", "numbers"])
def test_a_damaged_file_is_computed_anew(lab, data, damage):
    from safetensors.torch import load_file, save_file

    first = find_patches(lab, "run/tiny", find_layer_name(lab), str(data))
    (path,) = (lab.runs_root / FOLDER).iterdir()
    tensors = load_file(path)
    if damage == "half":
        path.write_bytes(path.read_bytes()[:50])
    else:
        tensors["cells" if damage == "cells" else "pictures"] += 1000
        save_file(tensors, path)
    again = find_patches(lab, "run/tiny", find_layer_name(lab), str(data))
    assert not again.was_kept and again.to_json() == first.to_json()


def test_a_broken_picture_is_named_and_the_result_is_not_kept(lab, data):
    (data / "ant" / "3.png").write_bytes(b"no picture")
    found = find_patches(lab, "run/tiny", find_layer_name(lab), str(data))
    assert found.unreadable == ("ant/3.png",) and found.to_json()["num_pictures"] == 11
    assert not (lab.runs_root / FOLDER).exists()


def test_what_was_cancelled_leaves_no_file(lab, data):
    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        find_patches(lab, "run/tiny", find_layer_name(lab), str(data), progress=cancel)
    assert not (lab.runs_root / FOLDER).exists()


def test_the_samples_and_what_is_here_can_be_looked_at(lab, data):
    assert list_data(lab, "run/tiny")["own"] == str(data)
    assert list_data(lab, "fashion_cnn")["Sample pictures"] == SAMPLES
    found = find_patches(lab, "fashion_cnn", lab.default_layer("fashion_cnn"), SAMPLES)
    assert "sneaker" in found.names and found.strongest.values.shape[1] == 9
    assert estimate_seconds(lab, "fashion_cnn", 100) > 0


@pytest.mark.parametrize(("limit", "data_name"), [(0, "samples"), (5, "nothing/there")])
def test_what_cannot_be_is_refused(lab, limit, data_name):
    with refused():
        find_patches(lab, "run/tiny", find_layer_name(lab), data_name, limit)
