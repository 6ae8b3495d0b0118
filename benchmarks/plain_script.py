"""The script that one writes first: PIL pictures, torchvision transforms, a DataLoader, eager float32.

Same data, network, batch, optimiser and schedule as ConvScope's defaults; only the way to feed and watch differs.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from models.optimization import one_cycle
from models.preprocessing import Preprocessing


class Pictures(Dataset):
    """Arrays as PIL pictures, one at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, preprocessing: Preprocessing):
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(preprocessing.mean, preprocessing.std)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def build_network(channels: tuple[int, ...] = (16, 48, 96), num_classes: int = 10) -> nn.Sequential:
    """The layers of the default small CNN, written down in their order."""
    layers, before = [], 1
    for number, width in enumerate(channels):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number < len(channels) - 1 else []
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))


def train_steps(
    model: nn.Module,
    data: Dataset,
    *,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    total_steps: int,
    num_workers: int,
) -> Iterator[float]:
    """Trains until nobody asks any more; yields the seconds of each step, loading included."""
    loader = DataLoader(data, batch_size, shuffle=True, drop_last=True, num_workers=num_workers)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=learning_rate, momentum=0.9, nesterov=True, weight_decay=weight_decay
    )
    loss = nn.CrossEntropyLoss()
    step = 0
    while True:
        started = time.perf_counter()
        for images, labels in loader:
            model.train()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * one_cycle(min(step, total_steps - 1), total_steps)
            optimizer.zero_grad()
            loss(model(images), labels).backward()
            optimizer.step()
            step += 1
            yield time.perf_counter() - started
            started = time.perf_counter()
