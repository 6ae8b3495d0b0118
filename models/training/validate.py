"""How good a network is on a split: loss, accuracy, and the logits that all else is worked out from."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.data.dataset import Split


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
    check: Callable[[], None] = lambda: None,
) -> Assessment:
    """Runs a network over a whole split, in eval mode and in float32, as everyone who uses it afterwards does.

    Args:
        module: The network; its train/eval flags are left as they were.
        split: Pictures on the module's device; at least one.
        normalize: Network input from uint8 pictures.
        loss: Of each picture, from logits ``(N, K)`` and labels.
        check: Called before each batch; what it raises ends the assessment.
    """
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    modes = {part: part.training for part in module.modules()}
    module.eval()
    parts = []
    try:
        for images in split.images.split(batch_size):
            check()
            parts.append(module(normalize(images)).float())
    finally:
        for part, mode in modes.items():
            part.training = mode
    logits, labels = torch.cat(parts), split.labels
    counts = multiclass_confusion_matrix(logits, labels, num_classes=logits.shape[1], validate_args=False)
    right, totals = counts.diag().tolist(), counts.sum(1).tolist()
    return Assessment(
        loss=loss(logits, labels).cpu().double().mean().item(),  # MPS has no float64
        accuracy=sum(right) / len(labels),
        class_accuracy=tuple(r / total if total else None for r, total in zip(right, totals, strict=True)),
        logits=logits.cpu(),
    )
