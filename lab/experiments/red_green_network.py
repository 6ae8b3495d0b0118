"""The Red-Green experiment: can a network with a global pooling layer still tell where something is?

Kayhan and van Gemert, "On Translation Invariance in CNNs: Convolutional Layers can Exploit Absolute Spatial
Location", CVPR 2020. The class is the left-right order of a red and a green square, but in training each
class also has its own half of the picture. A network that learns the half fails when the squares move.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from models.data.dataset import Split
from models.determinism import reproducible
from models.devices import DEVICES
from models.settings import Choice, Choices, Integer, Number, checked_dataclass

SIDE = 32
BOX = 4
HALVES = (7, 23)
"""Mean row of the squares' upper edge: class 0, red on the left, is above; class 1, green on the left, below."""
MOVE = 16
"""Pixels between the halves; a multiple of the network's total stride of 8."""
PATIENCE = 9
"""Epochs without a lower validation loss that end a training."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adadelta": lambda parameters, lr: torch.optim.Adadelta(parameters, lr=lr, weight_decay=5e-5),
}
"""The published script uses Adadelta with learning rate 1."""


@dataclass(frozen=True)
class Convolution:
    """How the borders are treated, and what the paper's code reports: mean and std of accuracies in [0, 1].

    ``is_invariant`` says whether a move by a multiple of the total stride cannot change the logits.
    """

    title: str
    padding: int
    padding_mode: Literal["zeros", "circular"]
    is_invariant: bool
    similar: tuple[float, float]
    dissimilar: tuple[float, float]


CONVOLUTIONS = {
    "valid": Convolution("valid: no padding", 0, "zeros", False, (1.0, 0.0), (0.002, 0.001)),
    "same_zero": Convolution("same: 1 pixel of zeros", 1, "zeros", False, (0.998, 0.001), (0.084, 0.007)),
    # The script asks for 2 pixels, which PyTorch up to 1.5 halved (pytorch#20981): 1 is what was measured.
    "same_circular": Convolution("same: 1 pixel, circular", 1, "circular", True, (0.737, 0.010), (0.737, 0.010)),
    "full_zero": Convolution("full: 2 pixels of zeros", 2, "zeros", True, (0.897, 0.005), (0.897, 0.005)),
}


@checked_dataclass
class RedGreenConfig:
    """Sizes and training of the experiment; the paper's code has 10 repeats of up to 50 epochs with Adadelta."""

    convolutions: Annotated[tuple[str, ...], Choices(CONVOLUTIONS)] = tuple(CONVOLUTIONS)
    repeats: Annotated[int, Integer(1, 100)] = 2
    epochs: Annotated[int, Integer(1, 1000)] = 20
    num_train: Annotated[int, Integer(2, 100_000)] = 2000
    num_validation: Annotated[int, Integer(2, 100_000)] = 1000
    num_test: Annotated[int, Integer(2, 100_000)] = 1000
    batch_size: Annotated[int, Integer(1, 8192)] = 200
    optimizer: Annotated[str, Choice(OPTIMIZERS)] = "adam"
    learning_rate: Annotated[float, Number(1e-8, 100.0)] = 3e-3
    seed: Annotated[int, Integer(0, 2**31)] = 0
    device: Annotated[str, Choice(DEVICES)] = "auto"


@dataclass(frozen=True)
class RedGreenData:
    """Three sets of the same law, drawn independently of each other."""

    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class RedGreenResult:
    """Accuracies in [0, 1] where the squares are as in training and in the other half, and how far logits differ."""

    similar: float
    dissimilar: float
    max_logit_difference: float


class RedGreenNet(nn.Module):
    """Maps ``(N, 3, H, W)`` to logits ``(N, 2)``: four 3 x 3 convolutions without bias, global maximum, linear."""

    def __init__(self, convolution: str):
        super().__init__()
        kind = CONVOLUTIONS[convolution]
        layers: list[nn.Module] = []
        for in_channels, out_channels, stride in ((3, 32, 1), (32, 32, 2), (32, 64, 2), (64, 64, 2)):
            conv = nn.Conv2d(
                in_channels, out_channels, 3, stride, kind.padding, bias=False, padding_mode=kind.padding_mode
            )
            layers += [conv, nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of pictures in [0, 1]."""
        return self.head(self.features(x))


def make_red_green(num_images: int, *, seed: int | list[int]) -> Split:
    """Draws pictures ``(N, 3, 32, 32)`` and their classes in turn: 0, 1, 0, 1, ...

    The left square begins in column 0 to 9, the right one at least 5 columns further and up to column 27,
    each in its own row, 4 above to 3 below the row of its class: the ranges of the published script.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(num_images) % 2
    left = rng.integers(0, 10, num_images)
    right = rng.integers(left + BOX + 1, SIDE - BOX)
    rows = np.array(HALVES)[labels] + rng.integers(-4, 4, (2, num_images))
    squares = np.stack([_draw_squares(rows[0], left), _draw_squares(rows[1], right)], axis=1)
    squares[labels == 1] = squares[labels == 1, ::-1]  # red first: now it is the right one
    images = np.zeros((num_images, 3, SIDE, SIDE), dtype=np.uint8)
    images[:, :2] = 255 * squares
    return Split(torch.from_numpy(images), torch.from_numpy(labels))


def _draw_squares(top: np.ndarray, left: np.ndarray) -> np.ndarray:
    """``(N, SIDE, SIDE)`` bool."""
    pixels = np.arange(SIDE)
    rows, columns = (pixels - start[:, None] for start in (top, left))
    inside = [(distance >= 0) & (distance < BOX) for distance in (rows, columns)]
    return inside[0][:, :, None] & inside[1][:, None, :]


def move_to_other_half(images: Tensor) -> Tensor:
    """The "dissimilar" test: every picture with its squares 16 pixels further down or up.

    No square crosses the border, so a roll by 16 is that move for both classes.
    """
    return images.roll(MOVE, dims=-2)


def make_data(config: RedGreenConfig) -> RedGreenData:
    """The three sets of one experiment; the same for all its networks, as in the paper."""
    sizes = (config.num_train, config.num_validation, config.num_test)
    return RedGreenData(*(make_red_green(num, seed=[config.seed, part]) for part, num in enumerate(sizes)))


def train_red_green(
    convolution: str,
    data: RedGreenData,
    config: RedGreenConfig,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> RedGreenNet:
    """Trains one network; returns it as it was at its lowest validation loss.

    Args:
        convolution: A key of ``CONVOLUTIONS``.
        seed: Decides the initial weights, all that differs between repeats.
        device: Where to train; the data stay there.
        on_epoch: Told the number of each finished epoch, from 1; what it raises ends the training.
    """
    with reproducible(seed):
        net = RedGreenNet(convolution).to(device).to(memory_format=torch.channels_last)
        optimizer = OPTIMIZERS[config.optimizer](net.parameters(), lr=config.learning_rate)
        train, validation = (_to_batches(split, config.batch_size, device) for split in (data.train, data.validation))
        best_loss, best_epoch, best_weights = float("inf"), 0, copy.deepcopy(net.state_dict())
        for epoch in range(1, config.epochs + 1):
            for images, labels in train:
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(images), labels).backward()
                optimizer.step()
            loss = _mean_loss(net, validation)
            if loss < best_loss:
                best_loss, best_epoch, best_weights = loss, epoch, copy.deepcopy(net.state_dict())
            on_epoch(epoch)
            if epoch - best_epoch >= PATIENCE:
                break
        net.load_state_dict(best_weights)
        return net.eval()


def measure_red_green(net: RedGreenNet, test: Split, *, batch_size: int = 200) -> RedGreenResult:
    """Compares the pictures of the law of training with the same pictures moved to the other half.

    Always on the CPU, in single precision and in batches that hold the same pictures in the same order:
    there the sums behind each logit have one order, so that equal in theory is equal to the last bit.
    """
    net = copy.deepcopy(net).cpu()
    batches = _to_batches(test, batch_size, "cpu")
    with torch.inference_mode():
        pairs = [(net(images), net(move_to_other_half(images))) for images, _ in batches]
    similar, dissimilar = (torch.cat(logits) for logits in zip(*pairs, strict=True))
    first, second = ((logits.argmax(1) == test.labels).double().mean().item() for logits in (similar, dissimilar))
    return RedGreenResult(first, second, (similar - dissimilar).abs().max().item())


def _to_batches(split: Split, batch_size: int, device) -> list[tuple[Tensor, Tensor]]:
    images = (split.images.to(device).float() / 255).contiguous(memory_format=torch.channels_last)
    return list(zip(images.split(batch_size), split.labels.to(device).split(batch_size), strict=True))


@torch.no_grad()
def _mean_loss(net: RedGreenNet, batches: list[tuple[Tensor, Tensor]]) -> float:
    losses = [nn.functional.cross_entropy(net(images), labels, reduction="sum") for images, labels in batches]
    return torch.stack(losses).sum().item()
