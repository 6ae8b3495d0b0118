"""The picture of a network is well-formed, safe, complete, and the same every time."""

import re
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from analysis.figures.network_drawing import draw_network
from analysis.figures.network_layout import lay_out
from analysis.figures.network_parts import list_strips
from analysis.network.layers import list_layers
from tests.unit.analysis.figures.networks import CASES, list_family, trace

SVG = "{http://www.w3.org/2000/svg}"


def parse(layers, *args, **options) -> ElementTree.Element:
    return ElementTree.fromstring(draw_network(layers, *args, **options))


def list_options(drawing: ElementTree.Element) -> list[ElementTree.Element]:
    return [group for group in drawing.iter(f"{SVG}g") if group.get("role") == "option"]


@pytest.mark.parametrize("family", CASES)
def test_every_feature_map_can_be_chosen_in_one_place(family):
    layers = trace(family)
    options = list_options(parse(layers, picture=(3, 64, 64)))
    enabled = [option.get("data-layer") for option in options if option.get("aria-disabled") is None]
    assert sorted(enabled) == sorted(layer.name for layer in layers if layer.is_feature_map)
    assert all(option.find(f"{SVG}title").text.startswith(f"{option.get('data-layer')}: ") for option in options)


@pytest.mark.parametrize("family", ["googlenet"])
def test_it_is_the_same_every_time_and_has_no_ids(family):
    drawn = draw_network(trace(family), "inception3a", (3, 64, 64))
    assert drawn == draw_network(list_family(family), "inception3a", (3, 64, 64))
    assert not re.search(r"\bid=", drawn)


def test_the_chosen_layer_is_marked_and_the_way_to_it_is_open():
    drawing = parse(trace("resnet18"), "layer2.0.conv1")
    selected = [option.get("data-layer") for option in list_options(drawing) if option.get("aria-selected") == "true"]
    assert selected == ["layer2.0.conv1"]
    strips = [element for element in drawing if element.get("class") == "strip"]
    shown = [strip.get("data-inside") for strip in strips if strip.get("hidden") is None]
    assert shown == ["", "layer2", "layer2.0"]
    assert drawing.find("p[@class='said']").text.startswith("layer2.0.conv1: Conv2d, gives 128 × 8 × 8. Each cell")
    for svg in drawing.iter(f"{SVG}svg"):
        assert [group.get("tabindex") for group in svg.iter(f"{SVG}g") if group.get("role")].count("0") == 1


def test_the_inside_of_the_chosen_block_is_open_too():
    drawing = parse(trace("resnet18"), "layer2")
    shown = [e.get("data-inside") for e in drawing if e.get("class") == "strip" and e.get("hidden") is None]
    assert shown == ["", "layer2"]


def test_the_other_place_of_everything_is_that_of_the_strip_that_goes_down():
    strip = next(list_strips(trace("resnet18")))
    down = lay_out(strip, down=True)
    svg = next(parse(trace("resnet18")).iter(f"{SVG}svg"))
    assert svg.get("data-down") == f"0 0 {down.width:g} {down.height:g}"
    found = {option.get("data-layer"): option.get("data-down") for option in list_options(svg)}
    places = {part.name: f"translate({at.x:g} {at.y:g})" for box in down.boxes for part, at in box}
    assert found == places
    assert [path.get("data-down") for path in svg if path.get("class") in ("wires", "tips")] == [
        down.wires,
        down.tips,
    ]


def test_the_bar_shows_how_much_of_the_picture_a_cell_sees():
    class Sees(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 1, 8), nn.Conv2d(1, 1, 9)

        def forward(self, x):
            return self.second(self.first(x))

    half, whole = list_options(parse(list_layers(Sees(), torch.zeros(1, 1, 20, 20)), picture=(1, 16, 16)))
    widths = [float(option.find(f"{SVG}path[@class='seen']").get("d").rpartition("h")[2]) for option in (half, whole)]
    boxes = [float(option.find(f"{SVG}rect").get("width")) - 12 for option in (half, whole)]
    assert widths == pytest.approx([boxes[0] / 2, boxes[1]])


def test_hostile_names_stay_text():
    name = """<script>"x"&'${alert(1)}{{y}}</script>"""
    network = nn.Sequential()
    network.add_module(name, type("<img src=x onerror=alert(1)>", (nn.Conv2d,), {})(1, 1, 1))
    network.add_module("b", nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)))
    html = draw_network(list_layers(network, torch.zeros(1, 1, 4, 4)), name)
    assert "<script" not in html and "<img" not in html
    drawing = ElementTree.fromstring(html)
    assert {element.tag.removeprefix(SVG) for element in drawing.iter()} <= {
        *("div", "p", "span", "button", "svg", "g", "path", "rect", "text", "tspan", "title")
    }
    assert name in [option.get("data-layer") for option in list_options(drawing)]


def test_a_network_without_parts_says_so():
    assert "No part" in parse(list_layers(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 4, 4))).find("p[@class='said']").text
