"""How much the pooled features of a layer depend on where the picture falls on the layer's grid.

Apart from the meter, which asks for it: a measure with a definition of its own, of pooled features and no maps.
"""

import torch
from torch import Tensor

from analysis.equivariance.align import ROUNDING


def draw_phases(period: int, per_axis: int, seed: int = 0) -> tuple[tuple[int, int], ...]:
    """``per_axis ** 2`` shifts (dx, dy) in [0, period), one in every residue class modulo ``per_axis``.

    For layers whose stride divides ``per_axis`` each phase comes equally often, so nothing is left to chance;
    for the deeper ones this is a stratified sample.

    Args:
        period: A multiple of the strides of all layers.
        per_axis: Classes along one axis; at most ``period`` are used.
    """
    per_axis = min(per_axis, period)
    generator = torch.Generator().manual_seed(seed)

    def draw(residue: int) -> int:
        num_choices = -(-(period - residue) // per_axis)
        return residue + per_axis * int(torch.randint(num_choices, (), generator=generator))

    return tuple((draw(column), draw(row)) for row in range(per_axis) for column in range(per_axis))


def measure_phase_spread(pooled: Tensor, *, is_complete: bool) -> float | None:
    """``A = E |g_p - g|^2 / E |g - E g|^2``: variance over phases against variance over pictures.

    ``g_p`` is the spatial mean of a feature map under the circular shift ``p``, computed by the circular
    twin, and ``g`` its mean over the phases. A layer without aliasing has A = 0, because its maps only move.
    Nothing is aligned or interpolated, so no interpolation can be blamed for A.

    With all phases the variance over them is exact. With a sample of K it is divided by K - 1, and its K-th
    part is taken off the variance between the means ``g``, which it inflates: both are unbiased for
    independent phases. Stratified phases do no worse, and then A is too high by at most a factor
    K / (K - 1), about. The variance over N pictures is divided by N - 1.

    Args:
        pooled: ``(N, K, C)`` float64: N pictures, K phases.
        is_complete: Whether the phases hold all phases of the layer equally often.

    Returns:
        None where it has no scale: fewer than two pictures, pictures that look no more different to the layer
        than their phases explain, or a sample of one phase.
    """
    num_pictures, num_phases, _ = pooled.shape
    freedom = num_phases if is_complete else num_phases - 1
    if num_pictures < 2 or freedom == 0:
        return None
    centres = pooled.mean(dim=1)  # (N, C)
    over_phases = float((pooled - centres[:, None]).square().sum(dim=(1, 2)).mean()) / freedom
    over_pictures = float(centres.var(dim=0).sum())
    if not is_complete:
        over_pictures -= over_phases / num_phases
    scale = ROUNDING**2 * float(centres.square().sum(dim=1).mean())
    return over_phases / over_pictures if over_pictures > scale else None
