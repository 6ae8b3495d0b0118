"""The script that one writes first: torchvision's set of PIL pictures, its transforms, a DataLoader, eager float32.

    python benchmarks/plain_script.py [--data FOLDER] [--epochs N] [--workers N] [--seed N]

Same pictures, network, batch, optimiser and schedule as ConvScope's defaults; only the way to feed differs.
"""

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import transforms
from torchvision.datasets import FashionMNIST

BATCH_SIZE = 256
PEAK_RATE, WEIGHT_DECAY = 0.2, 5e-4
TRAIN_IMAGES, HELD_OUT = 55_000, 5_000


def load_pictures(folder: str | Path, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Training and test pictures; as many as ConvScope trains on, which keeps some for validation."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.2860,), (0.3530,))])
    train, test = (FashionMNIST(folder, train, transform=transform, download=True) for train in (True, False))
    generator = torch.Generator().manual_seed(seed)
    return random_split(train, (TRAIN_IMAGES, HELD_OUT), generator)[0], test


def build_network() -> nn.Sequential:
    """The layers of the default small CNN, written down in their order."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def train_steps(model: nn.Module, pictures: Dataset, total_steps: int, workers: int = 0) -> Iterator[float]:
    """Trains on and on, with the schedule over so many steps; yields the seconds of each, loading included."""
    device = next(model.parameters()).device
    loader = DataLoader(pictures, BATCH_SIZE, shuffle=True, drop_last=True, num_workers=workers)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=PEAK_RATE, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _one_cycle(step, total_steps))
    criterion = nn.CrossEntropyLoss()
    while True:
        started = time.perf_counter()
        for images, labels in loader:
            model.train()
            optimizer.zero_grad()
            criterion(model(images.to(device)), labels.to(device)).backward()
            optimizer.step()
            schedule.step()
            yield time.perf_counter() - started
            started = time.perf_counter()


def _one_cycle(step: int, total_steps: int) -> float:
    position = min((step + 1) / (total_steps + 1), 1.0)
    return min(position / 0.25, (1 - position) / 0.75)


@torch.inference_mode()
def measure_accuracy(model: nn.Module, pictures: Dataset) -> float:
    """Share of the pictures that the model is right about."""
    model.eval()
    device = next(model.parameters()).device
    right = sum(
        (model(images.to(device)).argmax(1) == labels.to(device)).sum().item()
        for images, labels in DataLoader(pictures, 1000)
    )
    return right / len(pictures)


def main() -> None:
    """Trains and prints the test accuracy after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data", help="folder that has FashionMNIST/raw, or gets it")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    train, test = load_pictures(options.data, options.seed)
    model = build_network().to("cuda" if torch.cuda.is_available() else "cpu")
    steps = len(train) // BATCH_SIZE
    training = train_steps(model, train, steps * options.epochs, options.workers)
    for epoch in range(options.epochs):
        seconds = sum(islice(training, steps))
        accuracy = measure_accuracy(model, test)
        print(f"epoch {epoch + 1}: {seconds:.1f} s, test accuracy {accuracy:.2%}", flush=True)


if __name__ == "__main__":
    main()
