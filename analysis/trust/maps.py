"""Maps beside each other: their strength in every pixel, and how alike two of them are."""

import numpy as np
import torch
from torch import Tensor


def evidence(values: Tensor) -> Tensor:
    """What speaks for the class less what speaks against it, in every pixel: ``(C, H, W)`` -> ``(H, W)``, float64."""
    return values.double().sum(0)


def magnitude(values: Tensor) -> Tensor:
    """How strong a map is in every pixel, without its sign: ``(C, H, W)`` -> ``(H, W)``, float64."""
    return values.double().abs().sum(0)


ORDERS = {"positive": evidence, "absolute": magnitude}
"""Which pixels are the strongest: those that speak for the class, or those that matter either way."""


def correlate(first: Tensor, second: Tensor) -> float | None:
    """Pearson's correlation of two equally long lists of numbers; None where one of them does not vary."""
    first, second = first.double() - first.double().mean(), second.double() - second.double().mean()
    # Scaled first: the maps of a network with random weights are so small that their squares would be zero.
    first, second = (_scaled(numbers) for numbers in (first, second))
    product = float(first.norm() * second.norm())
    return max(-1.0, min(1.0, float((first * second).sum()) / product)) if product > 0 else None


def rank_correlate(first: Tensor, second: Tensor) -> float | None:
    """Spearman's rank correlation of two maps ``(H, W)``; None where one of them is the same everywhere."""
    from scipy.stats import rankdata

    ranks = (torch.from_numpy(rankdata(numbers.flatten().numpy())) for numbers in (first, second))
    return correlate(*ranks)


def measure_ssim(first: Tensor, second: Tensor) -> float | None:
    """The structural similarity (Wang et al. 2004) of two maps ``(H, W)``, each divided by its largest magnitude.

    None where one of them is zero everywhere, or a side has less than three pixels.
    """
    from skimage.metrics import structural_similarity

    window = min(7, min(first.shape) - (min(first.shape) + 1) % 2)
    if window < 3 or not (first.any() and second.any()):
        return None
    one, other = (_scaled(numbers).numpy() for numbers in (first, second))
    is_signed = bool((first < 0).any() or (second < 0).any())
    return float(structural_similarity(one, other, win_size=window, data_range=2.0 if is_signed else 1.0))


def measure_agreement(maps: dict[str, Tensor]) -> dict[str, dict[str, float | None]]:
    """The rank correlation of the magnitudes of every two maps ``(C, H, W)``, by their names."""
    strengths = {name: magnitude(values) for name, values in maps.items()}
    names = list(maps)
    found: dict[str, dict[str, float | None]] = {name: {} for name in names}
    for number, one in enumerate(names):
        for other in names[number:]:
            found[one][other] = found[other][one] = rank_correlate(strengths[one], strengths[other])
    return {one: {other: found[one][other] for other in names} for one in names}


def find_best_shift(first: Tensor, second: Tensor, is_real: Tensor) -> tuple[int, int]:
    """The shift ``(dx, dy)`` that brings the map ``first`` closest to ``second``, both ``(H, W)``.

    The peak of the normalised cross-correlation over the overlap (Padfield 2012), as scikit-image computes it, among
    shifts that leave at least three tenths of the overlap.

    Args:
        is_real: ``(H, W)`` bool: which pixels of ``second`` count.
    """
    from skimage.registration import phase_cross_correlation

    one, other = (_scaled(numbers).numpy() for numbers in (first, second))
    (dy, dx), *_ = phase_cross_correlation(
        other, one, reference_mask=is_real.numpy(), moving_mask=np.ones(one.shape, bool)
    )
    return round(float(dx)), round(float(dy))


def _scaled(numbers: Tensor) -> Tensor:
    """Divided by the largest magnitude, if there is any."""
    numbers = numbers.double()
    largest = numbers.abs().max()
    return numbers / largest if largest > 0 else numbers
