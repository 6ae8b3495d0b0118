"""Class probabilities and the few best of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import AnalysisError


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
