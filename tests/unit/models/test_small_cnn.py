"""SmallCNN: every combination of options, and refusals that name the numbers."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from models.errors import ModelsError
from models.small_cnn import ARCHITECTURES, HEADS, NORMS, PADDING_MODES, POOLING, SmallCNN, SmallCNNConfig

OPTIONS = list(itertools.product(POOLING, PADDING_MODES, HEADS, NORMS))


def build(**options) -> SmallCNN:
    return SmallCNN(SmallCNNConfig(**{"channels": (4, 6, 8), **options})).eval()


@pytest.mark.parametrize(("pooling", "padding_mode", "head", "norm"), OPTIONS)
@pytest.mark.parametrize(("kernel_size", "image_size", "in_channels"), [(3, 28, 1), (5, 33, 3)])
def test_shapes_and_sizes(pooling, padding_mode, head, norm, kernel_size, image_size, in_channels):
    model = build(
        pooling=pooling,
        padding_mode=padding_mode,
        head=head,
        norm=norm,
        kernel_size=kernel_size,
        image_size=image_size,
        in_channels=in_channels,
        num_classes=7,
        dropout=0.1,
    )
    x = torch.rand(2, in_channels, image_size, image_size)
    sizes = [image_size]
    feature_map = x
    for block in model.features:
        feature_map = block(feature_map)
        sizes.append(feature_map.shape[-1])
    assert model(x).shape == (2, 7)
    assert tuple(sizes) == model.config.sizes
    assert model.config.num_parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("pooling", POOLING)
def test_explanation_methods_can_hook_every_relu_once(pooling):
    model, calls = build(pooling=pooling), []
    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    for relu in relus:
        assert not relu.inplace
        relu.register_forward_hook(lambda module, *_: calls.append(module))
    model(torch.rand(1, 1, 28, 28))
    assert calls == relus and len(relus) == 3


def test_names_of_parts():
    names = dict(build(dropout=0.2).named_modules())
    assert {"features.0.conv", "features.2.norm", "features.1.relu", "features.0.pool"} <= set(names)
    assert {"head.pool", "head.dropout", "head.classifier"} <= set(names)
    assert "features.2.pool" not in names


def test_gap_head_takes_other_image_sizes():
    assert build(head="gap")(torch.rand(1, 1, 40, 52)).shape == (1, 10)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_follows_its_config(name):
    config_class, model_class = ARCHITECTURES[name]
    config = replace(config_class(), num_classes=3, in_channels=3, image_size=32)
    assert model_class(config).eval()(torch.rand(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": (4,) * 6}, "6 blocks halve a 28 x 28 image 5 times"),
        ({"channels": ()}, "channels"),
        ({"channels": "32"}, "channels"),
        ({"channels": (4, "x")}, "'x'"),
        ({"channels": (0,)}, "not 0"),
        ({"kernel_size": 4}, "odd"),
        ({"kernel_size": True}, "kernel_size"),
        ({"pooling": "median"}, "max, average, stride"),
        ({"padding_mode": "reflect", "channels": (4,) * 5, "kernel_size": 3}, "reflect padding of 1"),
        ({"padding_mode": "circular", "channels": (4,) * 5, "kernel_size": 5}, "circular padding of 2"),
        ({"head": None}, "gap, flatten"),
        ({"norm": "layer"}, "batch, none"),
        ({"dropout": float("nan")}, "dropout"),
        ({"num_classes": 1}, "num_classes"),
        ({"image_size": 10**9}, "image_size"),
        ({"channels": (1024,) * 8, "kernel_size": 15, "pooling": "stride"}, "million weights"),
    ],
)
def test_bad_options_are_refused_in_words(options, words):
    with pytest.raises(ModelsError, match=words):
        SmallCNNConfig(**options)
