"""Networks to draw, with shapes only: one of each family of torchvision, and some that are hard to draw."""

from functools import cache

import torch
from torch import nn
from torchvision import models as zoo

from analysis.network.layers import Layer, list_layers
from tests.nightly import FAMILIES, mostly_nightly

ALL_FAMILIES = sorted(FAMILIES | {"resnext50_32x4d", "wide_resnet50_2"})
ALWAYS = ("resnet18", "googlenet", "densenet121", "vit_b_16", "convnext_tiny", "regnet_y_400mf")
CASES = mostly_nightly(ALL_FAMILIES, ALWAYS)
SIDES = {"inception_v3": 96, "maxvit_t": 224, "vit_b_16": 224}


def build(name: str) -> nn.Module:
    """A builder's network on the meta device."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # its widths are computed with tensors
        network = zoo.get_model(name, weights=None, **options)
    return network.to("meta").eval()


def list_family(name: str) -> tuple[Layer, ...]:
    """Its layers for pictures that are as small as works."""
    side = SIDES.get(name, 64)
    return list_layers(build(name), torch.empty(1, 3, side, side, device="meta"))


trace = cache(list_family)
"""The same, once."""
