"""The CIFAR residual networks: the paper's table, the shortcut, invariance, and depth without normalisation."""

import pytest
import torch

from models.networks.cifar_resnet import CifarResNet, CifarResNetConfig, ResidualBlock, ZeroChannels
from tests.sentences import refused


def build(**options) -> CifarResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CifarResNet(CifarResNetConfig(**options)).eval()


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_published_sizes(depth, millions):
    number = CifarResNetConfig(depth=depth).num_parameters / 1e6
    assert round(number, 1 if depth == 110 else 2) == millions
    assert CifarResNetConfig().num_parameters == 269_722


def test_published_shape():
    model = build()
    blocks = [part for part in model.modules() if isinstance(part, ResidualBlock)]
    assert len(blocks) == 9 and 2 * len(blocks) + 2 == model.config.depth
    x = model.conv(torch.rand(1, 3, 32, 32))
    shapes = []
    for stage in (model.stage1, model.stage2, model.stage3):
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_the_shortcut_takes_every_second_pixel_and_adds_zeros():
    block = ResidualBlock(CifarResNetConfig(), 16, 32, halve=True).eval()
    block.norm2.weight.data.zero_()  # leaves only the shortcut
    x = torch.rand(2, 16, 8, 8)
    out = block(x)
    assert torch.equal(out[:, :16], x[..., ::2, ::2]) and not out[:, 16:].any()
    assert not list(ZeroChannels(3).parameters())


@pytest.mark.parametrize(
    ("options", "is_invariant"),
    [
        ({"pooling": "aps_stride", "padding_mode": "circular"}, True),
        ({"pooling": "aps", "padding_mode": "circular"}, True),
        ({"pooling": "stride", "padding_mode": "circular"}, False),
        ({"pooling": "blur_stride", "padding_mode": "circular"}, False),
        ({"pooling": "aps_stride"}, False),
    ],
)
def test_adaptive_sampling_and_circular_padding_ignore_circular_shifts(options, is_invariant):
    model = build(depth=8, image_size=16, **options).double()
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shifted = torch.cat([x.roll(shift, (2, 3)) for shift in ((0, 0), (1, 0), (0, 1), (7, 10), (4, 13))])
    with torch.inference_mode():
        logits = model(shifted)
    error = (logits - logits[0]).norm(dim=1).max() / logits[0].norm()
    assert error < 1e-12 if is_invariant else error > 1e-4


@pytest.mark.parametrize("depth", [20, 110])
def test_depth_without_normalisation_keeps_the_signal(depth):
    model = build(depth=depth, norm="none", width=8, image_size=8)
    x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first = model.activation(model.norm(model.conv(x)))
        last = model.stage3(model.stage2(model.stage1(first)))
    assert 0.1 < last.square().mean() / first.square().mean() < 10


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"depth": 21}, 21),
        ({"depth": 1202}, "8 to 110"),
        ({"image_size": 3, "pooling": "max"}, "3, 1, 0"),
        ({"image_size": 4, "padding_mode": "reflect"}, "1 x 1"),
        ({"image_size": 4, "norm": "instance"}, 64),
        ({"num_classes": 10_000, "image_size": 1024, "head": "flatten"}, 200),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_numbers(options, fact):
    with refused(fact):
        CifarResNetConfig(**options)
