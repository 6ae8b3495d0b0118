"""What a training minimises and how: losses, penalties, optimisers and learning-rate schedules, a table of each."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

WARM_UP = 0.25
"""Share of all steps in which the one-cycle rate rises."""
DROPS = (0.5, 0.75)
"""Where, as shares of all steps, the step schedule divides the rate by ten."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
}


def one_cycle(step: int, total_steps: int) -> float:
    """Learning rate of a step (from 0) as a fraction of its peak: a linear rise, then a linear fall.

    Smith and Topin, "Super-Convergence", 2018, without the change of momentum.
    """
    position = (step + 1) / (total_steps + 1)
    return min(position / WARM_UP, (1 - position) / (1 - WARM_UP))


def constant(step: int, total_steps: int) -> float:
    """The same rate at every step."""
    return 1.0


def drop(step: int, total_steps: int) -> float:
    """A tenth of the rate after half of the steps, and again after three quarters (He et al. 2016, section 4.2)."""
    return 0.1 ** sum(step >= share * total_steps for share in DROPS)


def cosine(step: int, total_steps: int) -> float:
    """Half a cosine from the peak to almost 0 (Loshchilov and Hutter, "SGDR", 2017, without restarts)."""
    return (1 + math.cos(math.pi * step / total_steps)) / 2


SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "one_cycle": one_cycle,
    "constant": constant,
    "step": drop,
    "cosine": cosine,
}
"""Name -> the rate of a step (from 0) as a fraction of the peak, given how many steps there are."""


def multiclass_hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """Multiclass SVM loss of each picture: ``sum_{j != y} max(0, s_j - s_y + 1)`` (Weston and Watkins, 1999).

    Args:
        logits: ``(N, K)``.
        labels: ``(N,)`` int64.

    Returns:
        ``(N,)``.
    """
    # PyTorch divides by the number of classes.
    return nn.functional.multi_margin_loss(logits, labels, reduction="none") * logits.shape[1]


@dataclass(frozen=True)
class Loss:
    """A table entry: ``per_picture(logits, labels, label_smoothing)`` gives ``(N,)``."""

    title: str
    per_picture: Callable[[Tensor, Tensor, float], Tensor]
    allows_smoothing: bool = True


LOSSES = {
    "cross_entropy": Loss(
        "Softmax and cross-entropy",
        lambda logits, labels, smoothing: nn.functional.cross_entropy(
            logits, labels, label_smoothing=smoothing, reduction="none"
        ),
    ),
    "svm": Loss(
        "Multiclass SVM (hinge)",
        lambda logits, labels, smoothing: multiclass_hinge(logits, labels),
        allows_smoothing=False,
    ),
}


@torch.no_grad()
def add_l1_gradients(parameters: Iterable[nn.Parameter], strength: float) -> None:
    """Adds the gradient of ``strength * sum |w|`` to that of every parameter that has one; 0 has the gradient 0."""
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.add_(parameter.sign(), alpha=strength)


def gradient_norm(module: nn.Module) -> Tensor:
    """Euclidean norm of all gradients of a module, a scalar on its device."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
