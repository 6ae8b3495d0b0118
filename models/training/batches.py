"""Data that live on the device, as network inputs by step; what a step draws depends on its number alone."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from analysis.errors import UserError
from models.data.dataset import Split
from models.data.preprocessing import Preprocessing
from models.devices import send
from models.training.random_streams import Purpose, draw_generator

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Changes ``(N, C, H, W)`` uint8 pictures at random."""
INDIVISIBLE = "A batch of {size} cannot be divided among {processes} processes; use larger batches or more pictures."


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
        seed: Decides the order and every augmentation.
        augments: What is done at random to each batch, each with draws of its own.
        batch_size: Pictures of a step, over all processes; at most all there are.
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


def check_batches(feed: Feed, parts: int, core: nn.Module) -> None:
    """Refuses batches that leave a process without a picture, or a batch normalisation with one value.

    Args:
        parts: In which each batch is computed.
        core: What is trained, with as much of it free as ever; left in eval mode.

    Raises:
        UserError: They are too small.
    """
    size, processes = feed.batch_size, feed.num_processes
    smallest = feed.smallest_part(parts)
    if smallest < 1:
        raise UserError(INDIVISIBLE.format(size=size, processes=processes))
    if smallest > 1:  # two pictures are two values, however small their maps
        return
    if found := find_single_value(core.train(), feed.normalize(feed.split.images[:1])):
        divided = f" in {parts} parts" * (parts > 1) + f" on {processes} processes" * (processes > 1)
        raise UserError(
            f"Batch normalisation needs at least 2 values at a time, but a batch of {size}{divided} gives the "
            f"layer {found} 1 picture with 1 position; use larger batches, fewer parts, more or larger pictures, "
            "or another normalisation."
        )


@torch.no_grad()
def find_single_value(module: nn.Module, inputs: Tensor) -> str | None:
    """The first batch normalisation that would meet a single value per channel, and so could not be trained.

    Args:
        module: In the mode in which it is trained; left in eval mode.
        inputs: As many pictures as the smallest batch has.

    Returns:
        The layer's name, or None.
    """
    found: list[str] = []
    layers = [(name, part) for name, part in module.named_modules() if isinstance(part, _BatchNorm) and part.training]
    handles = [
        part.register_forward_pre_hook(
            lambda part, args, name=name: found.append(name) if args[0].numel() == args[0].shape[1] else None
        )
        for name, part in layers
    ]
    try:
        module.eval()(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return next(iter(found), None)
