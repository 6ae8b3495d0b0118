"""How good a network is on a split: loss, accuracy, and the logits that all else is worked out from."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.data import Split


@dataclass(frozen=True)
class Assessment:
    """Mean loss, accuracy in [0, 1], that of each class (None where it has no picture), and logits ``(N, K)``."""

    loss: float
    accuracy: float
    class_accuracy: tuple[float | None, ...]
    logits: Tensor


@torch.inference_mode()
def assess(
    module: nn.Module,
    split: Split,
    normalize: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    batch_size: int,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> Assessment:
    """Runs a network over a whole split, in eval mode.

    Args:
        module: The network; its train/eval flags are left as they were.
        split: Pictures on the module's device; at least one.
        normalize: Network input from uint8 pictures.
        loss: Of each picture, from logits ``(N, K)`` and labels.
        batch_size: Pictures at a time.
        autocast: The precision to compute in.
    """
    from torchmetrics.functional.classification import multiclass_accuracy

    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        parts = []
        for images in split.images.split(batch_size):
            with autocast():
                parts.append(module(normalize(images)).float())
    finally:
        for part, mode in modes.items():
            part.training = mode
    logits, labels = torch.cat(parts), split.labels
    options = {"num_classes": logits.shape[1], "validate_args": False}
    accuracy = multiclass_accuracy(logits, labels, average="micro", **options)
    per_class = multiclass_accuracy(logits, labels, average="none", **options).tolist()
    present = torch.bincount(labels, minlength=logits.shape[1]).tolist()
    return Assessment(
        loss=loss(logits, labels).double().mean().item(),
        accuracy=accuracy.item(),
        class_accuracy=tuple(value if count else None for value, count in zip(per_class, present, strict=True)),
        logits=logits.cpu(),
    )
