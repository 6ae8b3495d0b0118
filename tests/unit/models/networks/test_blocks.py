"""The shared parts: normalisations against PyTorch's own, heads against each other, signals that keep their size."""

import copy
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from models.networks.blocks import (
    build_conv_block,
    build_head,
    check_norm,
    check_padding,
    count_linear,
    halve_size,
    initialise,
)
from models.networks.parts import ACTIVATIONS, HEADS, NORMS, POOLING, count_groups
from tests.sentences import refused

X = torch.randn(3, 12, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def config(**options) -> SimpleNamespace:
    values = {"num_classes": 4, "pooling": "max", "blur_size": 3, "padding_mode": "zeros", "head": "gap"}
    return SimpleNamespace(**values | {"dropout": 0.0, "norm": "none", "activation": "relu"} | options)


@settings(max_examples=40)
@given(channels=st.integers(1, 1024))
def test_groups_divide_the_channels(channels):
    groups = count_groups(channels)
    assert channels % groups == 0 and groups <= 32
    assert channels // groups >= 2 or channels == 1
    assert NORMS["group"].build(channels)(torch.rand(1, channels, 2, 2)).isfinite().all()


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (512, 32), (16, 8), (48, 24), (50, 25), (6, 3), (7, 1)])
def test_numbers_of_groups(channels, groups):
    assert count_groups(channels) == groups


def test_layer_norm_is_over_channels_and_positions_together():
    ours = NORMS["layer"].build(12).double()(X)
    torch.testing.assert_close(ours, F.layer_norm(X, X.shape[1:]))
    per_position = F.layer_norm(X.permute(0, 2, 3, 1), (12,)).permute(0, 3, 1, 2)
    assert not torch.allclose(ours, per_position, atol=0.1)
    vectors = X[:, :, 0, 0]
    torch.testing.assert_close(NORMS["layer"].build_flat(12).double()(vectors), F.layer_norm(vectors, (12,)))


def test_instance_and_group_norm_are_means_over_what_they_share():
    for name, groups in (("instance", 12), ("group", 6)):
        values = X.reshape(3, groups, -1)
        mean, var = values.mean(2, keepdim=True), values.var(2, unbiased=False, keepdim=True)
        expected = ((values - mean) / (var + 1e-5).sqrt()).reshape(X.shape)
        norm = NORMS[name].build(12).double()
        torch.testing.assert_close(norm(X), expected)
        assert sum(p.numel() for p in norm.parameters()) == 24


@pytest.mark.parametrize(
    ("norm", "channels", "positions", "fits"),
    [
        ("batch", 1, 1, True),
        ("none", 1, 1, True),
        ("layer", 1, 1, False),
        ("layer", 2, 1, True),
        ("instance", 64, 1, False),
        ("instance", 64, 4, True),
        ("group", 1, 1, False),
        ("group", 2, 1, True),
        ("group", 7, 1, True),
    ],
)
def test_norms_are_refused_exactly_where_nothing_would_be_left(norm, channels, positions, fits):
    if fits:
        check_norm(norm, channels, positions)
    else:
        with refused("2", channels):
            check_norm(norm, channels, positions)
    if NORMS[norm] and norm != "batch":
        module, side = NORMS[norm].build(channels), round(positions**0.5)
        try:
            out = module(torch.randn(2, channels, side, side))
        except ValueError:  # as PyTorch says it
            assert not fits
        else:
            assert bool(out.abs().max() > 1e-3) == fits


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular", "replicate"])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_padding_is_refused_exactly_where_torch_cannot_pad(mode, padding, size):
    conv = nn.Conv2d(1, 1, 2 * padding + 1, padding=padding, padding_mode=mode)
    try:
        conv(torch.rand(1, 1, size, size))
    except (RuntimeError, ValueError, AssertionError):
        with refused(mode, padding, f"{size} x {size}"):
            check_padding(mode, padding, size)
    else:
        check_padding(mode, padding, size)


@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("side", [2, 5, 8, 9])
def test_both_branches_are_halved_alike(pooling, side):
    kind = POOLING[pooling]
    x, shortcut = torch.rand(2, 3, side, side), torch.rand(2, 5, side, side)
    main = x if kind.build else nn.Conv2d(3, 3, 3, 2, 1)(x)
    out, other = kind.pair(config(pooling=pooling))(main, shortcut)
    expected = halve_size(side, pooling)
    assert out.shape == (2, 3, expected, expected) and other.shape == (2, 5, expected, expected)
    if kind.build:
        torch.testing.assert_close(out, kind.build(config(pooling=pooling))(x))
    else:
        assert torch.equal(other, shortcut[..., ::2, ::2])


def test_branches_sample_at_the_same_pixels():
    _, other = POOLING["aps_stride"].pair(config())(X, X)
    strongest, _ = POOLING["aps_stride"].pair(config())(X, -X)
    assert torch.equal(other, strongest)


@pytest.mark.parametrize("hidden", [(), (7,), (7, 6)])
def test_heads(hidden):
    x = X.float()[..., :5, :]
    gap, scan, flat = (build_head(config(head=head), 12, 5, hidden).eval() for head in ("gap", "scan", "flatten"))
    assert set(HEADS) == {"gap", "scan", "flatten"}
    scan.load_state_dict(gap.state_dict())
    torch.testing.assert_close(gap(x), gap[2:](x.mean((2, 3))))
    scores = [gap(x[..., i : i + 1, j : j + 1]) for i in range(5) for j in range(5)]
    torch.testing.assert_close(scan(x), torch.stack(scores).amax(0))
    assert flat(x).shape == (3, 4)
    for head, features in ((gap, 12), (scan, 12), (flat, 300)):
        assert sum(p.numel() for p in head.parameters()) == count_linear(features, *hidden, 4)


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_gains_are_those_of_torch(name):
    assert ACTIVATIONS[name].gain == pytest.approx(nn.init.calculate_gain(name), rel=1e-6)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "sigmoid"])
def test_a_signal_keeps_its_size_through_sixteen_layers(activation):
    layers = [part for _ in range(16) for part in (nn.Linear(256, 256), ACTIVATIONS[activation].build())]
    model = nn.Sequential(*layers)
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    assert model(x).std() < 0.1  # as PyTorch draws weights, inputs no longer make a difference
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        initialise(model, activation)
    assert 0.1 < model(x).std() < 20


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_trained_block_has_the_values_and_gradients_of_its_parts_in_turn(layout):
    torch.manual_seed(0)
    block = build_conv_block(config(), 3, 8, 3, 1, halve=True).to(memory_format=layout).train()
    plain = nn.Sequential(*copy.deepcopy(list(block)))
    found = []
    for module in (block, plain):
        inputs = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1)).contiguous(
            memory_format=layout
        )
        inputs.requires_grad_()
        output = module(inputs)
        # Windows without a positive number have to hand on no gradient at all.
        (output * torch.arange(output.numel()).view(output.shape)).sum().backward()
        found.append([output, inputs.grad, *(parameter.grad for parameter in module.parameters())])
    assert (found[1][0] == 0).any()
    for own, expected in zip(*found, strict=True):
        assert torch.equal(own, expected)


def test_a_block_that_is_not_trained_keeps_its_order():
    block = build_conv_block(config(), 3, 8, 3, 1, halve=True)
    sizes = []
    block.relu.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[-1]))
    for training in (False, True):
        block.train(training)(torch.zeros(2, 3, 12, 12))
    assert sizes == [12, 6]
