"""Blur pooling: against a loop over NumPy in double precision, and what a low-pass filter must keep and remove."""

import math

import numpy as np
import pytest
import torch

from models.networks.blur_pool import BLUR_SIZES, BlurPool2d, binomial_taps
from models.networks.padding import PADDING_MODES

NUMPY_MODES = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}


def blur_by_loops(image: np.ndarray, size: int, mode: str) -> np.ndarray:
    """One channel ``(H, W)``, window by window."""
    row = [math.factorial(size - 1) / (math.factorial(k) * math.factorial(size - 1 - k)) for k in range(size)]
    kernel = np.outer(row, row) / np.sum(np.outer(row, row))
    padded = np.pad(image, ((size - 1) // 2, size // 2), NUMPY_MODES[mode])
    height, width = image.shape
    out = [
        [(kernel * padded[i : i + size, j : j + size]).sum() for j in range(0, width, 2)] for i in range(0, height, 2)
    ]
    return np.array(out)


@pytest.mark.parametrize("size", BLUR_SIZES)
@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 5), (6, 9), (8, 8)])
def test_equals_loops(size, mode, shape):
    x = torch.randn(2, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    blurred = BlurPool2d(size, padding_mode=mode)(x)
    assert blurred.shape == (2, 3, -(-shape[0] // 2), -(-shape[1] // 2))
    for n in range(2):
        for c in range(3):
            np.testing.assert_allclose(blurred[n, c], blur_by_loops(x[n, c].numpy(), size, mode), rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", BLUR_SIZES)
def test_a_constant_stays_and_the_finest_checkerboard_goes(size):
    assert sum(binomial_taps(size)) == 1
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    board = ((-1.0) ** (rows + columns))[None, None]
    for mode in PADDING_MODES[1:]:
        blur = BlurPool2d(size, padding_mode=mode)
        assert torch.equal(blur(torch.full((1, 2, 8, 8), 3.0)), torch.full((1, 2, 4, 4), 3.0))
    assert BlurPool2d(size, padding_mode="circular")(board).abs().max() == 0
    # Negative control: with zeros around it, a constant loses at the border (of an odd side, for two taps).
    assert BlurPool2d(size)(torch.ones(1, 1, 7, 7)).min() < 0.8


@pytest.mark.parametrize("size", BLUR_SIZES)
def test_a_larger_filter_changes_less_with_a_shift(size):
    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))

    def change(blur_size: int) -> float:
        blur = BlurPool2d(blur_size, padding_mode="circular")
        before, after = blur(x), blur(x.roll(1, 3))
        return float((after - before).norm() / before.norm())

    assert size == BLUR_SIZES[0] or change(size) < change(size - 1)


def test_no_weights_and_gradients_flow():
    blur = BlurPool2d(4)
    assert not blur.state_dict() and not list(blur.parameters())
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(blur, x)
