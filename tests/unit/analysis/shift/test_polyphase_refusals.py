"""What cannot be followed through all shifts at once is refused with the reason, and nothing is left behind."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from analysis.errors import Cancelled
from analysis.shift import polyphase_tree
from analysis.shift.circular import CircularPadding
from analysis.shift.polyphase import TOLERANCE, NotExact, compute_all_shifts
from tests.sentences import refused
from tests.unit.analysis.shift.followed import NETS, conv, head, noise, seeded

ERROR = r"\d\.\de[+-]\d+"


def test_what_cannot_fit_is_refused_with_what_it_would_need():
    net, x = seeded(NETS["residual, gate"][0]), noise()
    with refused("1 MiB"):
        compute_all_shifts(net, x, max_bytes=2**10)
    assert compute_all_shifts(net, x, max_bytes=2**18).num_parts == 1
    with refused():
        compute_all_shifts(
            nn.Sequential(net, nn.Identity()), x.repeat(1, 1, 8, 8), layers=["0.0.first"], max_bytes=2**20
        )


class Tokens(nn.Module):
    """Patches as tokens, and what is done to them."""

    def __init__(self, mix):
        super().__init__()
        self.patches, self.mix, self.head = nn.Conv2d(3, 8, 4, 4), mix, nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.mix(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class Rearranged(nn.Module):
    """A function of maps between two strided convolutions."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.first, self.last = conv(stride=2), nn.Sequential(conv(8, 8, 4, stride=4, padding=0), *head())

    def forward(self, x):
        return self.last(self.function(self.first(x)))


def attend(x):
    tokens = x.permute(0, 2, 3, 1).reshape(len(x), -1, x.shape[1])
    return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).reshape(x.shape)


RAMP = torch.linspace(0, 1, 8)
MIXING = {
    "attention": attend,
    "roll": lambda x: x.roll(1, 2),
    "flip": lambda x: x.flip(2),
    "flip by index": lambda x: x[:, :, torch.arange(7, -1, -1)],
    "running sum": lambda x: x.cumsum(2),
    "resizing": lambda x: F.interpolate(x, scale_factor=2),
    "upsampling": lambda x: F.conv_transpose2d(x, torch.ones(8, 8, 2, 2), stride=2),
    "linear along a row": lambda x: F.linear(x, torch.linspace(-1, 1, 64).view(8, 8) ** 3),
    "linear along a column": lambda x: F.linear(x.transpose(2, 3), torch.linspace(-1, 1, 64).view(8, 8) ** 3),
    "transposition": lambda x: x.transpose(2, 3),
    "position embedding": lambda x: x + RAMP,
    "Fourier transform": lambda x: torch.fft.fft2(x).abs(),
    "matrix product": lambda x: x @ torch.linspace(-1, 1, 64).view(8, 8) ** 3,
    "columns of patches": lambda x: F.unfold(x, 3, padding=1).view(len(x), -1, 8, 8)[:, ::9],
    "every second cell": lambda x: x[:, :, ::2, ::2],
    "crop": lambda x: x[..., 1:-1, 1:-1],
    "valid convolution": lambda x: F.conv2d(x, torch.ones(8, 8, 3, 3)),
    "pictures mixed": lambda x: x - x.mean(0),
}


@pytest.mark.parametrize("name", MIXING)
def test_networks_that_mix_positions_are_refused(name):
    net, x = seeded(lambda: Rearranged(MIXING[name])), noise()
    with torch.inference_mode(), CircularPadding():
        assert net(x).shape == (1, 5)  # nothing is wrong with the network itself
    if name == "pictures mixed":
        net.function = MIXING[name]
    with refused(varies=ERROR):
        compute_all_shifts(net, x)


@pytest.mark.parametrize("mix", [
    nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Identity(), nn.LayerNorm(8),
], ids=["attention", "nothing", "normalisation"])  # fmt: skip
def test_tokens_are_refused(mix):
    with refused():
        compute_all_shifts(seeded(lambda: Tokens(mix)), noise())


@pytest.mark.parametrize(("side", "cells"), [(18, ("5 x 5", "9 x 9")), (17, ("9 x 9", "17 x 17"))])
def test_sizes_that_a_stride_does_not_divide_are_refused(side, cells):
    net = seeded(lambda: nn.Sequential(conv(stride=2), conv(8, 8, stride=2), *head()))
    with refused(*cells):
        compute_all_shifts(net, noise(side))


def test_wrong_requests_are_refused():
    net, x = seeded(NETS["residual, gate"][0]), noise()
    with refused():
        compute_all_shifts(net, x.repeat(2, 1, 1, 1))
    with refused("nowhere"):
        compute_all_shifts(net, x, layers=["nowhere"])
    with refused("3"):
        compute_all_shifts(net, x, layers=["3"])
    with refused("0#2"):
        compute_all_shifts(net, x, layers=["0#2"])
    with refused():
        compute_all_shifts(net[0], x)
    with refused():
        compute_all_shifts(net, x).feature("0", 1, 1)
    with refused("nan", error=NotExact) as raised:
        compute_all_shifts(net, x * float("nan"))
    assert math.isnan(raised.value.error)


def test_a_wrong_result_is_no_refusal(monkeypatch):
    net, x = seeded(NETS["residual, gate"][0]), noise()
    fold = polyphase_tree._fold
    monkeypatch.setattr(polyphase_tree, "_fold", lambda *args: fold(*args).flip(0))
    with refused(error=NotExact, varies=ERROR) as raised:
        compute_all_shifts(net, x)
    assert raised.value.error > TOLERANCE


def test_nothing_is_left_behind():
    net, x = seeded(NETS["twice"][0]), noise()
    before, copy, state = net(x), x.clone(), torch.get_rng_state()
    compute_all_shifts(net, x, layers=["0"])

    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        compute_all_shifts(net, x, layers=["0"], progress=cancel)
    assert torch.equal(net(x), before)
    assert torch.equal(x, copy)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in net.modules())
