"""Networks of layers in a row: the last layer fits the classes, and the published ones have the published size."""

import pytest
import torch

from analysis.convolution.presets import PRESETS
from models.networks.stack import Stack, StackConfig
from models.networks.table import sketch_model
from tests.sentences import refused

CLASSIFIERS = [name for name in PRESETS if name in ("lenet5", "alexnet") or name.startswith("vgg")]


def test_the_last_linear_layer_has_as_many_outputs_as_there_are_classes():
    with_head, without = (
        StackConfig(layers=layers, num_classes=7) for layers in ("conv(4,3) gap linear(99)", "conv(4,3) gap")
    )
    assert with_head.num_parameters == without.num_parameters == 4 * (27 + 1) + 7 * (4 + 1)
    torch.manual_seed(0)
    assert Stack(with_head)(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    # what does not end in numbers in a row is flattened
    assert StackConfig(layers="pool(4)", num_classes=3).num_parameters == 3 * (3 * 8 * 8 + 1)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_published_stack_has_its_parameters(name):
    preset, rows = PRESETS[name], PRESETS[name].measure()
    channels, side, _ = preset.shape
    (num_classes,) = rows[-1].shape
    config = StackConfig(layers=preset.text, num_classes=num_classes, in_channels=channels, image_size=side)
    model = sketch_model(config)
    assert sum(weights.numel() for weights in model.parameters()) == config.num_parameters
    assert config.num_parameters == sum(row.parameters for row in rows)


@pytest.mark.parametrize("layers", ["conv(6,50)", "linear(3) conv(3,3)", "flatten gap", "nothing", "conv(6,5", ""])
def test_layers_that_cannot_be_are_refused(layers):
    with refused("layers"):
        StackConfig(layers=layers)
