"""Class probabilities and the few best of them."""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import UserError

_INDEX = re.compile(r"-?[0-9]{1,9}")
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
        inputs: ``(N, C, H, W)`` network input.

    Returns:
        ``(N, K)`` float32 on the CPU.

    Raises:
        UserError: The model gives no finite probabilities.
    """
    with torch.inference_mode():
        return to_probabilities(module(inputs))


def to_probabilities(logits: Tensor) -> Tensor:
    """``(N, K)`` softmax in float32 on the CPU; see :func:`predict`."""
    probabilities = logits.float().softmax(dim=-1).cpu()
    if not probabilities.isfinite().all():
        raise UserError("The model gives no finite probabilities for this picture; its weights are broken.")
    return probabilities


def top_k(probabilities: Tensor, categories: Sequence[str], k: int = 5) -> tuple[Prediction, ...]:
    """The ``k`` most probable classes of one ``(K,)`` distribution, best first."""
    values, indices = probabilities.topk(min(k, len(probabilities)))
    return tuple(
        Prediction(index, categories[index], probability)
        for index, probability in zip(indices.tolist(), values.tolist(), strict=True)
    )


def find_class(wanted: int | str, categories: Sequence[str]) -> int:
    """The index of a class.

    Args:
        wanted: Its index, or its name in any case, with spaces, dashes or underscores between words.

    Raises:
        UserError: No such class, or a name of several; says which indices there are to choose from.
    """
    text = str(wanted).strip()
    if _INDEX.fullmatch(text):
        if 0 <= int(text) < len(categories):
            return int(text)
        raise UserError(f"There is no class {text}; the model knows the classes 0 to {len(categories) - 1}.")
    names = [_fold(category) for category in categories]
    found = [index for index, category in enumerate(categories) if category == text]
    found = found or [index for index, name in enumerate(names) if name == _fold(text)]
    if len(found) > 1:
        raise UserError(f"{text} is the name of the classes {', '.join(map(str, found))}; choose by the number.")
    if not found:
        near = difflib.get_close_matches(_fold(text[:60]), dict.fromkeys(names), n=3)
        near = [f"{categories[names.index(name)]} ({names.index(name)})" for name in near]
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; give its name or a number to {len(names) - 1}."
        raise UserError(f"There is no class called {text[:60]}{hint}")
    return found[0]


def _fold(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


def measure_margins(logits: Tensor, target: int) -> Tensor:
    """``(N,)``: the logit of ``target`` minus the best of the others, from logits ``(N, K)``; below 0 if it loses."""
    best = logits.topk(min(2, logits.shape[1]), dim=1)  # (N, 2)
    rivals = torch.where(best.indices[:, 0] == target, best.values[:, -1], best.values[:, 0])
    return logits[:, target] - rivals


def find_ties(logits: Tensor) -> Tensor:
    """``(N,)`` bool: whether the two best of the logits ``(N, K)`` are too close to call (:data:`TIE`)."""
    best = logits.topk(min(2, logits.shape[1]), dim=1).values
    return best[:, 0] - best[:, -1] <= TIE * logits.norm(dim=1)
