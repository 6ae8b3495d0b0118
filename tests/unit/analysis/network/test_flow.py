"""Where the input and the output of each call come from."""

import torch
from torch import Tensor, nn
from torchvision import models as zoo

from analysis.network.layers import list_layers


class Branches(nn.Module):
    """Has what is hard to follow: a skip in place, two branches, a module called twice, arguments by keyword."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.residual = InPlace()
        self.left, self.right = nn.Conv2d(2, 2, 1), nn.Sequential(nn.Conv2d(2, 2, 1), nn.Identity())
        self.join = Join()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.relu(self.residual(x))
        a, b = x.chunk(2, dim=1)
        return self.join(a=self.left(a), b=self.right(b))


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y += x
        return y


class Join(nn.Module):
    def forward(self, *, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], dim=1)


def test_origins_pass_through_functions_branches_and_changes_in_place():
    network = Branches().eval()
    layers = {layer.name: layer for layer in list_layers(network, torch.zeros(1, 3, 8, 8))}
    assert {name: layer.reads for name, layer in layers.items()} == {
        "stem": ("",),
        "relu": ("stem",),
        "residual.conv": ("relu",),
        "residual": ("relu",),
        "relu#2": ("residual",),
        "left": ("relu#2",),
        "right.0": ("relu#2",),
        "right.1": ("right.0",),
        "right": ("relu#2",),
        "join": ("left", "right.1"),
    }
    assert layers["residual"].made_from == ("residual.conv", "relu")
    assert layers["right"].made_from == ("right.1",)
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_basic_block_adds_what_it_was_given_or_a_projection_of_it():
    layers = {layer.name: layer for layer in list_layers(zoo.resnet18().eval(), torch.zeros(1, 3, 64, 64))}
    assert layers["layer1.0.relu#2"].reads == ("layer1.0.bn2", "maxpool")
    assert layers["layer2.0.relu#2"].reads == ("layer2.0.bn2", "layer2.0.downsample.1")
