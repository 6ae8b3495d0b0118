"""Padding that keeps sizes: against NumPy, on maps smaller than the padding too."""

import numpy as np
import pytest
import torch
from torch import nn

from models.networks.padding import PADDING_MODES, PaddedMaxPool2d, pad_same

NUMPY_MODES = {"zeros": "constant", "circular": "wrap", "reflect": "reflect", "replicate": "edge"}


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 5), (3, 1), (6, 7)])
def test_equals_numpy(mode, window, size):
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    sides = ((window - 1) // 2, window // 2)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), sides, sides), NUMPY_MODES[mode])
    assert np.array_equal(pad_same(x, window, mode).numpy(), expected)


@pytest.mark.parametrize(("window", "stride"), [(3, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("size", [6, 7])
def test_zero_padded_pooling_is_pytorchs(window, stride, size):
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    expected = nn.MaxPool2d(window, stride, window // 2)(x)
    assert torch.equal(PaddedMaxPool2d(window, stride=stride)(x), expected)


def test_dense_pooling_at_even_pixels_is_plain_pooling():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(PaddedMaxPool2d(2)(x)[..., ::2, ::2], nn.MaxPool2d(2)(x))


def test_circular_pooling_moves_with_its_input_and_zero_padded_does_not():
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    moved = x.roll((3, 5), (2, 3))
    for window in (2, 3):
        dense = PaddedMaxPool2d(window, padding_mode="circular")
        assert torch.equal(dense(moved), dense(x).roll((3, 5), (2, 3)))
        strided = PaddedMaxPool2d(window, stride=2, padding_mode="circular")
        assert torch.equal(strided(x.roll((2, 4), (2, 3))), strided(x).roll((1, 2), (2, 3)))
        zero = PaddedMaxPool2d(window)
        assert not torch.equal(zero(moved), zero(x).roll((3, 5), (2, 3)))
