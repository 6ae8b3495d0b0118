"""Which boxes a network becomes, and what flows between them."""

import pytest
import torch
from torch import nn

from analysis.figures.network_parts import (
    MINOR,
    SOURCE,
    build_parts,
    describe_part,
    find_kind,
    list_strips,
)
from analysis.network.layers import list_layers
from tests.unit.analysis.figures.networks import CASES, trace


def read(name: str, inside: str = "") -> dict:
    """The boxes of one strip, each as the last words of the names in it, and the flows."""
    strip = next(strip for strip in list_strips(trace(name)) if strip.name == inside)
    boxes = [" ".join(part.name.removeprefix(f"{inside}.") for part in box.parts) for box in strip.boxes]
    named = {SOURCE: "in", len(boxes): "out", **dict(enumerate(boxes))}
    return {"boxes": boxes, "flows": {(named[source], named[target]) for source, target in strip.flows}}


@pytest.mark.parametrize("family", CASES)
def test_every_call_is_in_one_place_and_every_box_is_reached(family):
    layers = trace(family)
    strips = list(list_strips(layers))
    placed = [part.name for strip in strips for part in strip.list_parts()]
    called = [layer.name for layer in layers if layer.output_shape and layer.type != "Parameter"]
    assert sorted(placed) == sorted(called)
    assert len(strips[0].boxes) <= 30
    for strip in strips:
        for number in range(len(strip.boxes) + 1):
            assert all(source < number for source in strip.list_sources(number)) and strip.list_sources(number)
        for number in range(len(strip.boxes)):
            assert number < min(strip.list_targets(number), default=number + 1)


def test_a_residual_block_has_its_skip_and_its_projection():
    assert read("resnet18")["boxes"] == [
        *("conv1 bn1 relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc")
    ]
    assert read("resnet18", "layer1.1")["flows"] == {
        ("in", "conv1 bn1 relu"),
        ("conv1 bn1 relu", "conv2 bn2"),
        ("conv2 bn2", "relu#2"),
        ("in", "relu#2"),
        ("relu#2", "out"),
    }
    assert ("downsample", "relu#2") in read("resnet18", "layer2.0")["flows"]
    assert ("in", "relu#2") not in read("resnet18", "layer2.0")["flows"]


def test_branches_stand_side_by_side():
    branches = ["branch1", "branch2", "branch3", "branch4"]
    found = read("googlenet", "inception3a")
    assert found["boxes"] == branches
    assert found["flows"] == {("in", name) for name in branches} | {(name, "out") for name in branches}


def test_dense_layers_read_all_before_them():
    flows = read("densenet121", "features.denseblock1")["flows"]
    names = ["in", *(f"denselayer{number}" for number in range(1, 7)), "out"]
    assert flows == {(source, target) for i, source in enumerate(names) for target in names[i + 1 :]}


def test_a_skip_in_place_stays_inside_its_block():
    features = read("convnext_tiny")
    assert {(source, target) for source, target in features["flows"] if source == "features.1"} == {
        ("features.1", "features.2")
    }
    assert ("in", "out") in read("convnext_tiny", "features.1.0")["flows"]


def test_with_few_boxes_the_largest_parts_are_shown_as_theirs():
    overview = next(list_strips(trace("vit_b_16")))
    assert [frame.part.name for frame in overview.frames] == ["encoder", "encoder.layers"]
    assert [box.part.name for box in overview.boxes[-3:]] == [
        "encoder.layers.encoder_layer_11",
        "encoder.ln",
        "heads",
    ]
    assert (overview.frames[1].first, overview.frames[1].last) == (2, 13)


def test_calls_of_a_block_that_runs_twice_stay_apart():
    block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    twice = nn.Sequential(block, nn.Conv2d(3, 3, 3), block)
    parts = build_parts(list_layers(twice.eval(), torch.zeros(1, 3, 8, 8)))
    assert [part.name for part in parts] == ["0", "1", "0#2"]
    assert [[inner.name for inner in part.parts] for part in parts] == [["0.0", "0.1"], [], ["0.0#2", "0.1#2"]]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("Conv2d", "conv"), ("MaxPool2d", "pool"), ("BatchNorm2d", "norm"), ("Hardswish", "activation")),
        *(("MultiheadAttention", "attention"), ("Linear", "linear"), ("Flatten", "shape"), ("Fire", "other")),
    ],
)
def test_kinds_are_known_by_name(name, kind):
    assert find_kind(name) == kind
    assert (kind in MINOR) == (kind in ("norm", "activation", "shape"))


def describe(name: str, layer: str) -> str:
    return next(
        describe_part(part) for strip in list_strips(trace(name)) for part in strip.list_parts() if part.name == layer
    )


def test_a_layer_is_described_in_plain_words():
    assert describe("resnet18", "layer1.0.conv1") == (
        "layer1.0.conv1: Conv2d, gives 64 × 16 × 16. Each cell sees 19 × 19 px, one cell per 4 px. 36,864 weights."
    )
    assert "sees the whole picture, one cell per 4 px" in describe(
        "regnet_y_400mf", "trunk_output.block1.block1-0.f.se"
    )
    assert "no feature map" in describe("resnet18", "fc")
    assert "brings together layer1.0.bn2 and maxpool" in describe("resnet18", "layer1.0.relu#2")
    assert "and 1 more" in describe("densenet121", "features.denseblock1.denselayer4")
