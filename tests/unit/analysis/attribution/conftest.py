"""A network and a picture to explain."""

import pytest
import torch
from torch import Tensor

from tests.unit.analysis.attribution.explained import ResidualNet


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def net() -> ResidualNet:
    """In train mode, with a frozen parameter, a gradient and statistics that are not the initial ones."""
    net = ResidualNet()
    net.bn.running_mean += torch.randn(6) / 10
    net.fc.bias.requires_grad_(False)
    net.fc.weight.grad = torch.ones_like(net.fc.weight)
    return net


@pytest.fixture
def image() -> Tensor:
    return torch.randn(1, 3, 12, 12)
