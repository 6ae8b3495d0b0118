"""Poolings against PyTorch, their code, and what shifts and sums do to them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from analysis.convolution.pooling import POOLINGS, pool, pool_shifted, pool_sum
from models.networks.blur_pool import BlurPool2d
from tests.sentences import refused


@pytest.fixture(scope="module")
def grey(chelsea):
    return torch.from_numpy(np.asarray(chelsea.convert("L").resize((48, 32)), dtype=np.float64))[None]


@pytest.mark.parametrize("name", [name for name in POOLINGS if name != "max_blur"])
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2)])
def test_the_code_does_the_same(name, window, stride, grey):
    output = pool(name, grey, window, stride)
    code = POOLINGS[name].write_code(window, stride, tuple(output.shape[1:]))
    scope = {"nn": nn, "F": F, "torch": torch, "x": grey[None].float()}
    *before, last = code.split("; ")
    for line in before:
        exec(line, scope)
    found = eval(last, scope)
    found = found(scope["x"]) if isinstance(found, nn.Module) else found
    rows, columns = output.shape[1:]
    torch.testing.assert_close(found[0, :, :rows, :columns].double(), output, rtol=1e-5, atol=1e-4)
    assert output.shape == (1, (32 - window) // stride + 1, (48 - window) // stride + 1)


@pytest.mark.parametrize("stride", [2])
def test_blur_is_that_of_the_networks(grey, stride):
    blurred = BlurPool2d(3, padding_mode="circular")(grey[None])[0]
    torch.testing.assert_close(pool("blur", grey, 2, stride), blurred)
    dense = F.max_pool2d(F.pad(grey[None], (0, 1, 0, 1), "circular"), 2, 1)
    torch.testing.assert_close(pool("max_blur", grey, 2), BlurPool2d(3, padding_mode="circular")(dense)[0])


@pytest.mark.parametrize("name", POOLINGS)
def test_sums_say_which_are_linear(name, grey):
    difference = pool_sum(name, grey, grey.flip(2)).difference
    assert difference < 1e-9 if POOLINGS[name].is_linear else difference > 10


def test_one_pixel_changes_what_is_left_out_most(grey):
    shifted = {name: pool_shifted(name, grey) for name in POOLINGS}
    assert all(pool_shifted(name, grey, dx=0).change == 0 for name in POOLINGS)
    for name in POOLINGS:  # a whole stride moves the map by a cell
        whole = pool_shifted(name, grey, dx=2)
        torch.testing.assert_close(whole.after, whole.before.roll(1, -1))
    assert shifted["blur"].change < shifted["average"].change < shifted["strided"].change
    assert shifted["max_blur"].change < shifted["max"].change
    assert max(shifted[name].mean_change for name in ("average", "adaptive", "blur")) < 1e-12
    stripes = torch.tensor([0.0, 1.0]).repeat(8, 8)[None]
    assert pool_shifted("strided", stripes).after.min() == 1 and not pool_shifted("strided", stripes).before.any()
    assert pool_shifted("max", stripes).change == pool_shifted("average", stripes).change == 0


def test_what_cannot_be_pooled_is_refused(grey):
    with refused("median", "max"):
        pool("median", grey)
    with refused("40 x 40", "32 x 48"):
        pool("max", grey, 40)
    with refused("64 x 64", "3,759,161,344"):  # too much work
        pool("max", torch.zeros(1, 1021, 1021), 64, 1)
