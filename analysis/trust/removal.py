"""What the network answers when pixels are taken away in the order of a map: deletion, insertion, confidence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import Progress, UserError, no_progress
from analysis.network.chunks import run_in_chunks
from analysis.network.hooks import preserved
from analysis.trust.maps import ORDERS, evidence

STEPS = 32
CHUNK = 16


def _mean(inputs: Tensor) -> Tensor:
    return torch.zeros_like(inputs)


def _blur(inputs: Tensor) -> Tensor:
    from torchvision.transforms.functional import gaussian_blur

    # Of 224 pixels 11 and 5, as Petsiuk et al. blur; an odd kernel that a small picture can still mirror.
    side = min(inputs.shape[-2:])
    kernel = max(1, min(round(side / 20) * 2 + 1, 2 * ((side - 1) // 2) + 1))
    return gaussian_blur(inputs, [kernel, kernel], [max(side / 45, 0.5)] * 2)


BASELINES: dict[str, Callable[[Tensor], Tensor]] = {"mean": _mean, "blur": _blur}
"""What a pixel that is taken away becomes: the mean colour (zero after the normalisation), or a blurred picture."""


@dataclass(frozen=True)
class Removal:
    """The probability of the class along the way.

    Attributes:
        shares: ``steps + 1`` shares of the pixels, 0 to 1, that were removed or inserted.
        deletion: The probability after the strongest pixels were removed.
        insertion: That after the strongest were put back into the baseline.
    """

    shares: tuple[float, ...]
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]

    @property
    def deletion_auc(self) -> float:
        """Area under the curve by the trapezoidal rule: small if the strongest pixels carry the answer."""
        return float(torch.trapezoid(torch.tensor(self.deletion, dtype=torch.float64), torch.tensor(self.shares)))

    @property
    def insertion_auc(self) -> float:
        """The same of the other curve: large if the strongest pixels suffice."""
        return float(torch.trapezoid(torch.tensor(self.insertion, dtype=torch.float64), torch.tensor(self.shares)))


def measure_removal(
    module: nn.Module,
    inputs: Tensor,
    target: int,
    values: Tensor,
    *,
    order: str = "positive",
    deleted: str = "mean",
    inserted: str = "blur",
    steps: int = STEPS,
    chunk: int = CHUNK,
    progress: Progress = no_progress,
) -> Removal:
    """Deletion and insertion (Petsiuk et al. 2018), all channels of a pixel at once.

    Args:
        inputs: ``(1, C, H, W)``, normalised.
        values: The map ``(C, H, W)`` or ``(1, H, W)``.
        order: A key of ``ORDERS``: what makes a pixel strong. Of equally strong ones the upper left goes first.
        deleted: A key of ``BASELINES``: what removed pixels become.
        inserted: What pixels are before they are inserted.
        steps: Equal shares of the pixels.

    Raises:
        UserError: An argument does not fit.
    """
    for name, known in ((order, ORDERS), (deleted, BASELINES), (inserted, BASELINES)):
        if name not in known:
            raise UserError(f"There is no {name} here; choose one of {', '.join(known)}.")
    num_pixels = inputs.shape[-2:].numel()
    if not 1 <= steps <= num_pixels:
        raise UserError(f"Pixels can be removed in 1 to {num_pixels} steps, not {steps}.")
    ranks = _rank(ORDERS[order](values)).to(inputs.device)
    counts = [round(num_pixels * step / steps) for step in range(steps + 1)]
    starts = {"deletion": BASELINES[deleted](inputs)[0], "insertion": BASELINES[inserted](inputs)[0]}
    picture = inputs[0]

    def build(item: tuple[str, int]) -> Tensor:
        way, count = item
        is_first = ranks < count
        return torch.where(is_first if way == "insertion" else ~is_first, picture, starts[way])

    found = _probabilities(
        module, target, [(way, count) for way in starts for count in counts], build, chunk, progress
    )
    shares = tuple(count / num_pixels for count in counts)
    return Removal(shares, tuple(found[: steps + 1]), tuple(found[steps + 1 :]))


@dataclass(frozen=True)
class Confidence:
    """What is left of the answer when the picture is shown only where the map speaks for the class.

    Attributes:
        drop: The average drop of one picture, 0 to 1: the share of the probability that is lost.
        increased: Whether the class became more probable instead.
    """

    before: float
    after: float

    @property
    def drop(self) -> float:
        return max(0.0, self.before - self.after) / self.before if self.before > 0 else 0.0

    @property
    def increased(self) -> bool:
        return self.after > self.before


def measure_confidence(
    module: nn.Module, inputs: Tensor, target: int, values: Tensor, progress: Progress = no_progress
) -> Confidence:
    """Average drop and increase in confidence (Chattopadhay et al. 2018) of one picture.

    Every pixel is faded towards the mean colour, as far as the positive part of the map, divided by its largest
    value, is below 1.

    Args:
        inputs: ``(1, C, H, W)``, normalised.
        values: The map ``(C, H, W)`` or ``(1, H, W)``.
    """
    weights = evidence(values).clamp(min=0)
    weights = (weights / weights.max() if weights.any() else weights).to(inputs)
    before, after = _probabilities(
        module, target, [torch.ones_like(weights), weights], lambda share: share * inputs[0], 2, progress
    )
    return Confidence(before, after)


def _rank(strength: Tensor) -> Tensor:
    """``(H, W)``: 0 for the strongest pixel, 1 for the next."""
    order = strength.flatten().argsort(descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order))
    return ranks.view_as(strength)


def _probabilities(
    module: nn.Module,
    target: int,
    items: Sequence,
    build: Callable[..., Tensor],
    chunk: int,
    progress: Progress,
) -> list[float]:
    def compute(part: Sequence) -> list[float]:
        return module(torch.stack([build(item) for item in part])).double().softmax(1)[:, target].tolist()

    with torch.inference_mode(), preserved(module):
        return [number for _, found in run_in_chunks(compute, items, chunk, progress) for number in found]
