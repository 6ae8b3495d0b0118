"""What is known of a loaded model, and what models are compared with."""

import pytest
import torch
from torch import nn

from analysis.shift.circular import CircularPadding
from lab.facts import NUM_REFERENCES, find_references, load_references
from lab.session import Lab
from models.data.images import open_image
from models.data.preprocessing import Preprocessing
from models.data.samples import list_samples
from models.zoo.spec import ModelSpec
from tests.device import DEVICE


@pytest.mark.parametrize(
    ("channels", "trained_on", "kind"),
    [
        (1, "Fashion-MNIST", "garments"),
        (3, "ImageNet-1k", "photographs"),
        (3, "shapes", "shapes"),
        (1, "shapes", "shapes"),
    ],
)
def test_references_are_pictures_of_the_models_kind(channels, trained_on, kind):
    prep = Preprocessing(crop_size=8, resize_size=8, mean=(0.5,) * channels, std=(0.5,) * channels)
    found = find_references(ModelSpec("own", "test", 1, ("a",), prep, nn.Identity, trained_on))
    assert found == [sample.path for sample in list_samples().values() if sample.kind == kind][: len(found)]
    assert len(found) == NUM_REFERENCES


@pytest.mark.parametrize("twin", [False, True], ids=["as_trained", "twin"])
def test_levels_are_the_means_over_the_references(tmp_path, twin):
    lab = Lab(device=DEVICE, runs_root=tmp_path)
    with lab.use("fashion_cnn") as (loaded, facts):
        levels = facts.find_levels(loaded, twin=twin)
        assert facts.find_levels(loaded, twin=twin) is levels
        assert set(levels) == {layer.name for layer in facts.layers if layer.is_feature_map}
        pictures = [open_image(path) for path in find_references(loaded.spec)]
        inputs = torch.cat([loaded.prepare(picture) for picture in pictures])
        with torch.no_grad():
            if twin:
                with CircularPadding():
                    maps = loaded.module.features(inputs)
            else:
                maps = loaded.module.features(inputs)
    expected = maps.double().cpu().mean(dim=(0, 2, 3))
    torch.testing.assert_close(levels["features.2.relu"], expected, rtol=1e-5, atol=1e-6)


def test_levels_are_worked_out_once_per_model(tmp_path, monkeypatch):
    lab, asked = Lab(device=DEVICE, runs_root=tmp_path), []
    load = load_references
    monkeypatch.setattr("lab.facts.load_references", lambda loaded: asked.append(loaded.spec.name) or load(loaded))
    boot = lab.open_image("ankle_boot")
    for twin in (False, True, False, True):
        lab.shift(boot, "fashion_cnn", 1, 0, twin=twin)
    assert asked == ["fashion_cnn"] * 2
