"""Class probabilities and the few best of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import AnalysisError

TIE = 1e-4
"""Two best logits closer than this fraction of the logits' norm may change places by rounding alone."""


@dataclass(frozen=True)
class Prediction:
    """One class and its softmax probability."""

    index: int
    category: str
    probability: float


def predict(module: nn.Module, inputs: Tensor) -> Tensor:
    """Softmax probabilities.

    Args:
        module: A classifier in eval mode.
        inputs: ``(N, C, H, W)`` network input.

    Returns:
        ``(N, K)`` float32 on the CPU.

    Raises:
        AnalysisError: The model gives no finite probabilities.
    """
    with torch.inference_mode():
        return to_probabilities(module(inputs))


def to_probabilities(logits: Tensor) -> Tensor:
    """``(N, K)`` softmax in float32 on the CPU; see :func:`predict`."""
    probabilities = logits.float().softmax(dim=-1).cpu()
    if not probabilities.isfinite().all():
        raise AnalysisError("The model gives no finite probabilities for this picture; its weights are broken.")
    return probabilities


def top_k(probabilities: Tensor, categories: Sequence[str], k: int = 5) -> tuple[Prediction, ...]:
    """The ``k`` most probable classes of one ``(K,)`` distribution, best first."""
    values, indices = probabilities.topk(min(k, len(probabilities)))
    return tuple(
        Prediction(index, categories[index], probability)
        for index, probability in zip(indices.tolist(), values.tolist(), strict=True)
    )


def measure_margins(logits: Tensor, target: int) -> Tensor:
    """``(N,)``: the logit of ``target`` minus the best of the others, from logits ``(N, K)``; below 0 if it loses."""
    best = logits.topk(min(2, logits.shape[1]), dim=1)
    rivals = torch.where(best.indices[:, 0] == target, best.values[:, -1], best.values[:, 0])
    return logits[:, target] - rivals


def find_ties(logits: Tensor) -> Tensor:
    """``(N,)`` bool: whether the two best of the logits ``(N, K)`` are too close to call (:data:`TIE`)."""
    best = logits.topk(min(2, logits.shape[1]), dim=1).values
    return best[:, 0] - best[:, -1] <= TIE * logits.norm(dim=1)
