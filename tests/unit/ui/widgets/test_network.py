"""The picture of a network and the list of its layers say the same."""

from xml.etree import ElementTree

import gradio as gr
import pytest
import torch
from torchvision import models as zoo

from analysis.network.layers import list_layers
from ui.widgets.network import build_network_picture


@pytest.fixture(scope="module")
def layers():
    return list_layers(zoo.resnet18(weights=None).eval(), torch.zeros(1, 3, 64, 64))


def test_another_network_has_its_drawing_and_its_choices(layers):
    with gr.Blocks():
        picture = build_network_picture()
    shown = picture.show(layers, "layer3", (3, 64, 64))
    assert 'data-layer="layer3" aria-selected="true"' in shown[picture.drawing]
    listed = shown[picture.layer]
    assert listed["value"] == "layer3" and ("layer3", "layer3") in listed["choices"]
    assert ("fc", "fc") not in listed["choices"]
    assert len(listed["choices"]) == sum(layer.is_feature_map for layer in layers)


def test_only_what_the_list_offers_can_be_chosen_in_the_drawing(layers):
    with gr.Blocks():
        picture = build_network_picture()
    shown = picture.show(layers, None, choices=[("The first (64 channels)", "conv1"), ("The last", "layer4")])
    drawing = ElementTree.fromstring(shown[picture.drawing])
    options = [element for element in drawing.iter() if element.get("role") == "option"]
    assert [o.get("data-layer") for o in options if not o.get("aria-disabled")] == ["conv1", "layer4"]
    assert shown[picture.layer]["choices"][0] == ("The first (64 channels)", "conv1")


def test_a_choice_is_heard_from_the_drawing_and_from_the_list():
    with gr.Blocks() as page:
        picture, heard = build_network_picture(elem_id="layers"), gr.Textbox()
        before = set(page.fns)
        picture.on_choice(fn=str, inputs=picture.layer, outputs=heard, api_visibility="private")
    events = [page.fns[number].targets for number in set(page.fns) - before]
    assert sorted(event for targets in events for _, event in targets) == ["input", "select"]
    assert picture.layer.elem_id == "layers-layer"
