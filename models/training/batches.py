"""Data that live on the device, as network inputs by step; what a step draws depends on its number alone."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from models.data.datasets import Split
from models.data.preprocessing import Preprocessing
from models.devices import send
from models.training.random_streams import Purpose, draw_generator

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Changes ``(N, C, H, W)`` uint8 pictures at random."""


class Normalize:
    """uint8 pictures ``(N, C, H, W)`` to float32 network input in the channels_last layout."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device):
        mean, std = (
            torch.tensor(values, device=device).view(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std)
        )
        self._scale, self._offset = 1 / (255 * std), mean / std

    def __call__(self, images: Tensor) -> Tensor:
        """(pixels / 255 - mean) / std, in two passes over memory."""
        images = images.contiguous(memory_format=torch.channels_last)
        return images.mul(self._scale).sub_(self._offset)


class Feed:
    """Training pictures by step.

    Args:
        split: The training pictures, on the device.
        normalize: What the network needs done to them.
        seed: Decides the order and every augmentation.
        augments: What is done at random to each batch, each with draws of its own.
        batch_size: Pictures of a step, over all processes; at most all there are.
        rank: Which process this is.
        num_processes: Each takes its share of every batch.
    """

    def __init__(
        self,
        split: Split,
        normalize: Callable[[Tensor], Tensor],
        seed: int,
        augments: Mapping[Purpose, Augment],
        batch_size: int,
        rank: int = 0,
        num_processes: int = 1,
    ):
        self.split, self.normalize, self.seed, self.augments = split, normalize, seed, augments
        self.batch_size = min(batch_size, len(split))
        self.rank, self.num_processes = rank, num_processes
        self._epoch, self._order = -1, torch.empty(0)

    @property
    def steps_per_epoch(self) -> int:
        """The last pictures of an epoch's order that fill no batch are left out."""
        return len(self.split) // self.batch_size

    def smallest_part(self, parts: int) -> int:
        """Fewest pictures in one of the ``parts`` of a process's share of a batch; 0 where a share is empty."""
        shares = [torch.arange(self.batch_size)[rank :: self.num_processes] for rank in range(self.num_processes)]
        return min(len(part) for share in shares for part in share.chunk(parts))

    def index(self, step: int) -> Tensor:
        """This process's pictures of a step, ``(B,)`` int64 on the device: copied there once an epoch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = draw_generator(self.seed, Purpose.ORDER, epoch)
            order = torch.randperm(len(self.split), generator=generator)
            self._epoch, self._order = epoch, send(order, self.split.labels.device)
        start = position * self.batch_size
        return self._order[start : start + self.batch_size][self.rank :: self.num_processes]

    def batch(self, index: Tensor, step: int, part: int = 0) -> tuple[Tensor, Tensor]:
        """Network input and labels of the pictures ``index``, ``(B,)`` on the device.

        ``part`` tells apart the parts of one step.
        """
        images = self.split.images.index_select(0, index)  # with the same result as [index], in half the time
        for purpose, augment in self.augments.items():
            images = augment(images, draw_generator(self.seed, purpose, step, self.rank, part))
        return self.normalize(images), self.split.labels.index_select(0, index)
