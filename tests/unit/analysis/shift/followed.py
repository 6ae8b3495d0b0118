"""Networks to be followed through all circular shifts, and the same one shift at a time."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def noise(side: int | tuple[int, int] = 16, dtype=torch.float32) -> Tensor:
    height, width = (side, side) if isinstance(side, int) else side
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=dtype)


def seeded(build, dtype=torch.float32, seed: int = 0) -> nn.Module:
    """A network with random weights and random statistics, in eval mode; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
    return net.to(dtype).eval().requires_grad_(False)


class Residual(nn.Module):
    """Stride 4 in two steps of 2 beside one step of 4, scaled by a gate that looks at the whole map."""

    def __init__(self, channels: int = 3, width: int = 8):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.second = nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv2d(width, width, 3, 1, 1), nn.Dropout())
        self.shortcut = nn.Conv2d(channels, width, 1, 4, bias=False)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1), nn.Sigmoid()
        )

    def forward(self, x):
        branch = self.second(self.first(x))
        return F.relu_(branch * self.gate(branch) + self.shortcut(x))


def head(width: int = 8) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5)]


class AMax(nn.Module):
    def forward(self, x):
        return x.amax((2, 3))


class Mean(nn.Module):
    def forward(self, x):
        return x.mean([2, 3])


class Viewed(nn.Module):
    def forward(self, x):
        return x.view(x.size(0), -1)


class Shuffle(nn.Module):
    def forward(self, x):
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


def conv(cin=3, cout=8, kernel=3, stride=1, padding=1, **options):
    return nn.Sequential(nn.Conv2d(cin, cout, kernel, stride, padding, **options), nn.ReLU(inplace=True))


NETS = {
    "no stride": (lambda: nn.Sequential(conv(), *head()), 1),
    "residual, gate": (lambda: nn.Sequential(Residual(), *head()), 4),
    "twice": (lambda: nn.Sequential(Residual(), Residual(8), *head()), 16),
    "wide kernels on small maps": (
        lambda: nn.Sequential(conv(stride=4), conv(8, 8, 5, 2, 2), conv(8, 8, padding=2, dilation=2), *head()), 8,
    ),
    "to one cell": (
        lambda: nn.Sequential(conv(stride=4), conv(8, 8, stride=2), conv(8, 8, stride=2), conv(8), *head()), 16,
    ),
    "reflect and circular": (
        lambda: nn.Sequential(
            conv(stride=2, padding_mode="reflect"), conv(8, 8, stride=2, padding_mode="circular"),
            nn.ReplicationPad2d((1, 2, 1, 2)), nn.Conv2d(8, 8, 4, 2, groups=8), *head(),
        ), 8,
    ),
    "max": (lambda: nn.Sequential(conv(), nn.MaxPool2d(2), conv(8), nn.MaxPool2d(3, 2, ceil_mode=True), AMax()), 4),
    "average": (
        lambda: nn.Sequential(conv(), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AvgPool2d(2), Mean()), 4,
    ),
    "pooled by a window": (lambda: nn.Sequential(conv(stride=2), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(8, 5)), 2),
    "adaptive": (
        lambda: nn.Sequential(
            conv(stride=2), nn.AdaptiveMaxPool2d((4, None)), nn.AdaptiveAvgPool2d(4),
            nn.AdaptiveMaxPool2d(1), nn.Flatten(),
        ), 4,
    ),
    "shuffled channels": (
        lambda: nn.Sequential(conv(stride=2), Shuffle(), conv(8, 8, stride=2, groups=4), *head()), 4,
    ),
    "flatten": (lambda: nn.Sequential(conv(stride=2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 5)), 16),
    "view": (lambda: nn.Sequential(conv(stride=2), Viewed(), nn.Linear(512, 7), nn.ReLU(), nn.Linear(7, 5)), 16),
    "flatten after uneven pooling": (
        lambda: nn.Sequential(conv(stride=4), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 5)), 16,
    ),
    "flatten one cell": (lambda: nn.Sequential(conv(stride=4), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(8, 5)), 4),
}  # fmt: skip
