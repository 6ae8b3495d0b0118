"""Small networks for pictures of four insects, and what is asked of their evaluations."""

import copy

import torch
from torch import nn

from models.data.preprocessing import Preprocessing
from models.zoo.spec import ModelSpec

SIDE = 14
CLASSES = ("ant", "bee", "cat", "dog")
PREP = Preprocessing(crop_size=SIDE, resize_size=18, mean=(0.3,), std=(0.4,))


def make_module(seed: int) -> nn.Module:
    """Unpooled and strided: its answer depends on the shift."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        return nn.Sequential(trunk, nn.ReLU(), nn.Flatten(), nn.Linear(6 * 49, len(CLASSES))).eval()


def make_spec(name: str, module: nn.Module, categories=CLASSES) -> ModelSpec:
    return ModelSpec(name, "test", 1, categories, PREP, lambda: copy.deepcopy(module), "insects")


def value(document: dict, name: str) -> float | None:
    return document["models"][0]["statistics"][name]["value"]
