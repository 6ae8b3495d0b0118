"""Receptive fields of the models themselves."""

import pytest
import torch

from lab.learning.receptive_field import list_map_layers, measure_field
from lab.session import Lab
from tests.device import DEVICE
from tests.sentences import refused


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(device=DEVICE, runs_root=tmp_path_factory.mktemp("runs"))


def test_what_units_really_see_is_inside_what_they_can(lab):
    image = lab.open_image("bag")
    for layer in list_map_layers(lab, "fashion_cnn"):
        field = measure_field(lab, image, "fashion_cnn", layer.name, (1, 0), num_pictures=3, cover=True)
        top, left, bottom, right = field.window.clip((28, 28))
        outside = torch.ones(28, 28, dtype=torch.bool)
        outside[top:bottom, left:right] = False
        assert not field.influence[outside].any() and field.influence.any()
        document = field.to_json()
        assert document["theoretical"] == layer.receptive_field and document["stride"] == layer.stride
        assert 0 < document["effective"] <= layer.receptive_field
        assert field.covered.any() and field.num_pictures == 3


def test_the_middle_of_the_last_layer_is_taken_by_itself(lab):
    field = measure_field(lab, lab.open_image("bag"), "fashion_cnn")
    assert field.layer.name == lab.default_layer("fashion_cnn")
    assert field.cell == tuple(side // 2 for side in field.layer.size)
    again = measure_field(lab, lab.open_image("bag"), "fashion_cnn", field.layer.name, field.cell)
    assert torch.equal(field.influence, again.influence)


def test_what_is_not_there_is_refused(lab):
    image = lab.open_image("bag")
    with refused("conv99"):
        measure_field(lab, image, "fashion_cnn", "conv99")
    with refused(99):
        measure_field(lab, image, "fashion_cnn", cell=(0, 99))
    with refused(7, 8):
        measure_field(lab, image, "fashion_cnn", num_pictures=8)
