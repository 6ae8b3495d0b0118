"""What a map promises of pictures nearby: infidelity, and how far it changes itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import Progress, UserError, no_progress
from analysis.network.chunks import run_in_chunks
from analysis.network.hooks import preserved

SAMPLES = 64
CELLS = 7
RADIUS = 0.02
CHUNK = 16


@dataclass(frozen=True)
class Drops:
    """What random parts of a picture are worth: the same for all methods, so measured once.

    Attributes:
        masks: ``(N, H, W)`` bool: what was covered.
        drops: ``(N,)`` float64: the logit of the class less what was left of it.
        inputs: ``(C, H, W)``: the picture, on the CPU; what was covered became zero, the mean colour.
    """

    masks: Tensor
    drops: Tensor
    inputs: Tensor


def measure_drops(
    module: nn.Module,
    inputs: Tensor,
    target: int,
    *,
    samples: int = SAMPLES,
    cells: int = CELLS,
    seed: int = 0,
    chunk: int = CHUNK,
    progress: Progress = no_progress,
) -> Drops:
    """Covers random parts of a picture, ``cells`` x ``cells`` squares each with probability one half.

    Args:
        inputs: ``(1, C, H, W)``, normalised.

    Raises:
        UserError: ``samples`` or ``cells`` does not fit.
    """
    height, width = inputs.shape[-2:]
    if samples < 2 or not 1 <= cells <= min(height, width):
        raise UserError(f"At least 2 parts, of 1 to {min(height, width)} squares a side, can be covered.")
    generator = torch.Generator().manual_seed(seed)
    squares = torch.rand((samples, cells, cells), generator=generator) < 0.5
    rows, columns = (torch.arange(side) * cells // side for side in (height, width))
    masks = squares[:, rows][:, :, columns]

    def compute(part: Sequence[Tensor]) -> list[float]:
        covered = torch.stack([*part]).to(inputs.device)[:, None]
        return module(inputs.masked_fill(covered, 0))[:, target].double().tolist()

    with torch.inference_mode(), preserved(module):
        parts = [torch.zeros_like(masks[0]), *masks]
        whole, *rest = [score for _, found in run_in_chunks(compute, parts, chunk, progress) for score in found]
    return Drops(masks, whole - torch.tensor(rest, dtype=torch.float64), inputs[0].cpu())


@dataclass(frozen=True)
class Infidelity:
    """How badly a map foretells the drops.

    Attributes:
        value: The mean squared error, in squared logits, after the best scaling of the map.
        share: The same as a share of the mean squared drop: 0 foretells all of it, 1 nothing. None without a drop.
        unscaled: The error of the map as it is, in its own unit.
    """

    value: float
    share: float | None
    unscaled: float


def measure_infidelity(drops: Drops, values: Tensor, *, is_rate: bool) -> Infidelity:
    """The infidelity of Yeh et al. (2019), with their best scaling; captum's with ``normalize=True``.

    Args:
        values: The map ``(C, H, W)`` or ``(1, H, W)``.
        is_rate: Whether the map says what changes *per change of a pixel* (gradients), so that it is multiplied by
            the change, or what a pixel is worth as a whole, so that it is added up over the covered pixels.
    """
    values = values.double().cpu()
    changes = drops.inputs.double() if is_rate else torch.ones_like(values)
    worth = (values * changes).sum(0)  # (H, W)
    foretold = drops.masks.double().flatten(1) @ worth.flatten()
    error = foretold - drops.drops
    # Tiny maps of networks with random weights would otherwise have a square of zero.
    largest = foretold.abs().max()
    unit = foretold / largest if largest > 0 else foretold
    square = float((unit**2).mean())
    scale = float((unit * drops.drops).mean()) / square if square > 0 else 0.0
    value = float(((scale * unit - drops.drops) ** 2).mean())
    everything = float((drops.drops**2).mean())
    return Infidelity(value, value / everything if everything > 0 else None, float((error**2).mean()))


def measure_sensitivity(
    inputs: Tensor,
    explain: Callable[[Tensor], Tensor],
    *,
    radius: float = RADIUS,
    samples: int = 4,
    seed: int = 0,
    progress: Progress = no_progress,
) -> float:
    """The largest change of the map nearby, as a share of its norm (Yeh et al. 2019), as captum works it out.

    Args:
        inputs: ``(1, C, H, W)``, normalised.
        explain: Gives the map ``(C, H, W)`` of such a picture.
        radius: Every value is changed by at most this, uniformly.
    """
    from captum.metrics import sensitivity_max

    generator, done = torch.Generator().manual_seed(seed), 0

    def perturb(pictures: Tensor | tuple[Tensor, ...], radius: float) -> Tensor | tuple[Tensor, ...]:
        (first, *_), is_tuple = (pictures, True) if isinstance(pictures, tuple) else ((pictures,), False)
        noise = 2 * torch.rand(first.shape, generator=generator) - 1
        moved = first + radius * noise.to(first)
        return (moved,) if is_tuple else moved

    def ask(pictures: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        nonlocal done
        (batch, *_) = pictures if isinstance(pictures, tuple) else (pictures,)
        found = []
        for picture in batch:
            progress(done, samples + 1)
            found.append(explain(picture[None]).double())
            done += 1
        return (torch.stack(found),)  # of a bare tensor captum 0.9 takes the norm of each channel on its own

    found = sensitivity_max(ask, inputs, perturb, radius, samples, max_examples_per_batch=1)
    progress(samples + 1, samples + 1)
    return float(found)
