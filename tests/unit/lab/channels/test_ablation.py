"""Changes of logit and probability of the predicted class."""

import pytest
import torch

from lab.channels.ablation import measure_ablation
from lab.session import Lab
from models.data.samples import get_sample
from tests.device import DEVICE


def test_the_changes_are_of_the_predicted_class(tmp_path):
    lab = Lab(DEVICE, data_root=tmp_path, runs_root=tmp_path)
    image = lab.open_image(get_sample("sneaker").path)
    layer = lab.default_layer("fashion_cnn")
    found = measure_ablation(lab, image, "fashion_cnn", layer)
    target = lab.classify(image, "fashion_cnn").predictions[0]
    assert (found.target.index, found.layer) == (target.index, layer)
    assert found.target.probability == pytest.approx(target.probability, abs=1e-5)
    some = measure_ablation(lab, image, "fashion_cnn", layer, [3, 1])
    torch.testing.assert_close(some.logit_changes, found.logit_changes[[3, 1]], atol=1e-4, rtol=1e-4)
    document = found.to_json()
    changes = [row["logit_change"] for row in document["channels"]]
    assert changes == sorted(changes) and len(changes) == len(found.channels)
    first = document["channels"][0]
    after = found.predictions(1 + first["channel"], 10)
    (same,) = [each for each in after if each.index == target.index]
    assert first["probability_change"] == pytest.approx(same.probability - target.probability, abs=1e-5)
    assert first["category"] == after[0].category
