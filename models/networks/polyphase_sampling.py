"""Downsampling that moves with its input: of the four ways to take every second pixel, the strongest is kept.

Chaman and Dokmanić, "Truly Shift-Invariant Convolutional Neural Networks", 2021. A circular shift only changes
which component is which, so with circular padding and even sizes the same pixels are kept whatever the shift, and
a network that ends in global pooling gives the same logits. Two limits: with an odd side (a row of zeros is
added) or other padding the components change, and where two are equally strong the first is kept, which depends on
the shift. :func:`phase_gap` tells how near a map is to that.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def phase_energies(x: Tensor) -> Tensor:
    """Squared l2 norms ``(N, 4)`` of the components of ``x (N, C, H, W)``.

    Component ``2 i + j`` has the pixels whose row is ``i`` and whose column is ``j`` modulo 2. Squares
    are taken in single precision or better and added up in double, so that the order of the pixels, all that
    a shift changes, does not show.
    """
    wide = torch.float32 if x.device.type == "mps" else torch.float64  # mps has no double precision
    x = _even(x.detach())
    energy = x.to(torch.promote_types(x.dtype, torch.float32)).square().sum(1, dtype=wide)  # (N, H, W)
    num, height, width = energy.shape
    return energy.view(num, height // 2, 2, width // 2, 2).sum((1, 3)).flatten(1)  # (N, 2, 2) to (N, 4)


def phase_gap(x: Tensor) -> Tensor:
    """How clear the choice of a component is: ``1 - second / largest`` of the norms, ``(N,)``.

    Below about 1e-6 rounding may decide, and differently after a shift.
    """
    first, second = phase_energies(x).sqrt().topk(2).values.unbind(1)
    return torch.where(first > 0, 1 - second / first, 0.0)


def strongest_phase(x: Tensor) -> Tensor:
    """Index ``(N,)`` of the component of ``x (N, C, H, W)`` with the largest l2 norm, 0 to 3."""
    return phase_energies(x).argmax(1)


def take_phase(x: Tensor, phase: Tensor) -> Tensor:
    """One component of each map: ``(N, C, H, W)`` and ``phase (N,)`` to ``(N, C, ceil(H / 2), ceil(W / 2))``."""
    x = _even(x)
    num, channels, height, width = x.shape
    cells = x.reshape(num, channels, height // 2, 2, width // 2, 2)  # (N, C, h, i, w, j)
    return cells[torch.arange(num, device=x.device), :, :, phase // 2, :, phase % 2]  # (N, C, h, w)


def _even(x: Tensor) -> Tensor:
    return F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))


class _PolyphaseSampling(nn.Module):
    """What tells a self-check that a network samples adaptively, and how clear its choices are."""

    keeps_strongest_phase = True
    phase_gap = staticmethod(phase_gap)


class PolyphaseSampling2d(_PolyphaseSampling):
    """Adaptive polyphase sampling: halves a map, keeping the component with the largest l2 norm per picture."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, ceil(H / 2), ceil(W / 2))``."""
        return take_phase(x, strongest_phase(x))


class PairedPolyphaseSampling2d(_PolyphaseSampling):
    """Samples both branches of a residual block at the component that is the strongest in the first."""

    def forward(self, x: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
        """Two maps ``(N, C, H, W)`` of the same height and width to two of half of it."""
        phase = strongest_phase(x)
        return take_phase(x, phase), take_phase(shortcut, phase)
