"""LeNet-5: the sizes of the paper, and images that do not fit."""

import pytest
import torch
from torch import nn

from analysis.errors import UserError
from models.networks.lenet import LeNet5, LeNet5Config
from tests.sentences import refused


def test_published_shape():
    model = LeNet5(LeNet5Config())
    shapes = []
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.AvgPool2d | nn.Linear):
            part.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    model(torch.rand(1, 1, 32, 32))
    assert shapes == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)]
    assert model.config.num_parameters == 61_706
    assert model.config.sizes == (32, 28, 14, 10, 5)


def test_the_first_linear_layer_is_a_convolution_over_the_whole_map():
    model = LeNet5(LeNet5Config())
    maps = torch.rand(2, 16, 5, 5)
    kernel = model.head.fc1.weight.view(120, 16, 5, 5)
    by_convolution = nn.functional.conv2d(maps, kernel, model.head.fc1.bias).flatten(1)
    torch.testing.assert_close(model.head.fc1(maps.flatten(1)), by_convolution)


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("pooling", ["average", "max", "stride", "blur", "aps"])
def test_every_image_size_works_or_is_refused(padding, pooling):
    for side in range(1, 41):
        try:
            config = LeNet5Config(image_size=side, padding=padding, pooling=pooling)
        except UserError as refusal:
            assert f"{side} x {side}" in str(refusal)
            assert side < 16
            continue
        model = LeNet5(config).eval()
        maps = model.features(torch.rand(1, 1, side, side))
        assert maps.shape[-1] == config.sizes[-1] and model.head(maps).shape == (1, 10)


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"image_size": 12}, "12, 8, 4, 0, 0"),
        ({"padding": 3}, "0 to 2"),
        ({"image_size": 4, "padding": 2, "padding_mode": "reflect"}, "2 x 2"),
        ({"image_size": 14, "norm": "instance", "pooling": "stride"}, 16),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_numbers(options, fact):
    with refused(fact):
        LeNet5Config(**options)
