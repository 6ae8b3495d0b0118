"""Networks that obey some identities and break others."""

from functools import cache

import torch
from torch import Tensor, nn

from analysis.network.layers import list_layers
from analysis.self_check.identities import IDENTITIES, IdentityResult, check_identities
from models.networks.small_cnn import SmallCNN, SmallCNNConfig

DOUBLE = torch.float64
PHASES = {"I17", "I17 control", "I18", "I18 control"}
STRIDED = {"I2", "I3 control", "I9 control", "I12", "I12 control"}


def convolve(
    strides=(1, 2, 2), padding: int = 1, bias: bool = True, norm: bool = True, channels: int = 3
) -> list[nn.Module]:
    parts = []
    for stride in strides:
        parts.append(nn.Conv2d(channels, 8, 3, stride=stride, padding=padding, bias=bias))
        parts += [nn.BatchNorm2d(8)] if norm else []
        parts.append(nn.ReLU(inplace=True))
        channels = 8
    return parts


def average(channels: int = 8) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)]


def maximum() -> list[nn.Module]:
    return [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 5)]


def small_cnn(**config) -> nn.Module:
    return SmallCNN(SmallCNNConfig(num_classes=5, in_channels=3, image_size=32, channels=(8, 8, 8), **config))


class Net(nn.Sequential):
    """The last of its parts is the head."""


NETS = {
    "stride 1": (
        lambda: Net(*convolve((1, 1, 1)), *average()),
        {"I1", "I2", "I4", "I12", "I12 control", "I17", "I18"},
    ),
    "strided": (lambda: Net(*convolve(), *average()), STRIDED | PHASES | {"I1", "I4"}),
    "average pooling": (lambda: small_cnn(pooling="average"), STRIDED | PHASES | {"I1", "I4"}),
    "max-pooling": (lambda: small_cnn(pooling="max"), STRIDED | PHASES | {"I1", "I4", "I7", "I7 control"}),
    "global maximum": (lambda: Net(*convolve(), *maximum()), STRIDED | PHASES | {"I1", "I5"}),
    "padded pooling": (
        lambda: Net(*convolve((1,)), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), *average()),
        STRIDED | PHASES | {"I1", "I4", "I7", "I7 control", "I8 control"},
    ),
    "scan": (
        lambda: small_cnn(pooling="max", head="scan"),
        STRIDED | PHASES | {"I1", "I5", "I7", "I7 control"},
    ),
    "flatten": (
        lambda: small_cnn(pooling="stride", head="flatten"),
        STRIDED | {"I6 control", "I18", "I18 control"},
    ),
    "adaptive sampling": (
        lambda: small_cnn(pooling="aps", padding_mode="circular"),
        {"I1", "I2", "I3 control", "I4", "I9 control", "I10", "I11 control", "I12", "I12 control", "I17"},
    ),
    "full padding": (
        lambda: Net(*convolve(padding=2, bias=False, norm=False), *maximum()),
        {"I12", "I12 control", "I21", "I21 control"},
    ),
    "no padding": (lambda: Net(*convolve((1, 1, 1), padding=0), *average()), {"I12", "I19"}),
    "padding in front only": (
        lambda: Net(*convolve((1, 2)), *convolve((1,), channels=8, padding=0), nn.MaxPool2d(3, 2), *average()),
        {"I1", "I2", "I3 control", "I9 control", "I12", "I12 control"},
    ),
}


def build(make, dtype=torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = make()
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
    return net.to(dtype).eval()


def picture(side: int = 32, dtype=torch.float32, margin: int = 20) -> tuple[Tensor, Tensor]:
    """The network's input, and a larger picture with it in the middle."""
    canvas = torch.randn(1, 3, side + 2 * margin, side + 2 * margin, generator=torch.Generator().manual_seed(1))
    return canvas[..., margin:-margin, margin:-margin].contiguous().to(dtype), canvas.to(dtype)


def run(net: nn.Module, side: int = 32, dtype=torch.float32, **options) -> dict[str, IdentityResult]:
    inputs, canvas = picture(side, dtype)
    results = check_identities(net, inputs, canvas=canvas, layers=list_layers(net, inputs), **options)
    assert [result.identity for result in results] == [identity.name for identity in IDENTITIES]
    return {f"{r.identity} control" if r.is_negative_control else r.identity: r for r in results}


@cache
def checked(name: str, dtype=torch.float32) -> dict[str, IdentityResult]:
    return run(build(NETS[name][0], dtype), 32, dtype)


def select(results: dict[str, IdentityResult], passed: bool | None) -> set[str]:
    return {name for name, result in results.items() if result.passed is passed}
