"""The circular twin: every padded operation against a tiled picture, the identities of equivariance, nothing left."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.network.hooks import watch_outputs
from analysis.shift.circular import CircularPadding, wrap
from tests.sentences import refused


def noise(*shape: int, dtype=torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeded(build, dtype=torch.float32) -> nn.Module:
    """A network with random weights and random statistics, in eval mode; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
                nn.init.normal_(module.running_mean)
    return net.to(dtype).eval()


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def twin(net, inputs: Tensor) -> Tensor:
    with torch.inference_mode(), CircularPadding():
        return net(inputs)


def tiled(operation, x: Tensor, before: int, **padding) -> Tensor:
    """The oracle: the operation without padding on a plane tiled with ``x``, from ``before`` cells before it on."""
    size = operation(x, **padding).shape[-2:]
    plane = x.repeat(*[1] * (x.ndim - 2), 9, 9)
    begin = [4 * side - before for side in x.shape[-2:]]
    return operation(plane[..., begin[0] :, begin[1] :])[..., : size[0], : size[1]]


@pytest.mark.parametrize("side", [8, 7, 2])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [
    (3, 1, 1, 1), (3, 2, 1, 1), (5, 1, 2, 1), (3, 1, 2, 2), (4, 2, 1, 1), (1, 2, 0, 1), (3, 1, 5, 1), (2, 3, 1, 1),
])  # fmt: skip
def test_a_convolution_reads_a_tiled_plane(side, kernel, stride, padding, dilation):
    x, weight = noise(2, 4, side, side), noise(6, 2, kernel, kernel, seed=1)

    def conv(x, padding=0):
        return F.conv2d(x, weight, None, stride, padding, dilation, groups=2)

    if side + 2 * padding >= dilation * (kernel - 1) + 1:
        expected = tiled(conv, x, padding, padding=padding)
        with CircularPadding():
            found = conv(x, padding=padding)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("side", [8, 9, 3])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 3, 1), (2, 3, 1), (3, 1, 1)]
)
@pytest.mark.parametrize("pool", [
    F.max_pool2d, F.avg_pool2d, lambda x, *a, **k: F.avg_pool2d(x, *a, count_include_pad=False, **k),
    lambda x, *a, **k: F.avg_pool2d(x, *a, divisor_override=5, **k),
], ids=["max", "avg", "avg of the map only", "avg with a divisor"])  # fmt: skip
def test_pooling_reads_a_tiled_plane(pool, kernel, stride, padding, side, ceil_mode):
    x = noise(2, 3, side, side, dtype=torch.float64)
    expected = tiled(lambda x, **p: pool(x, kernel, stride, **p), x, padding, padding=padding)
    if ceil_mode:
        size = pool(x, kernel, stride, padding=padding, ceil_mode=True).shape[-2:]
        begin = 4 * side - padding
        expected = pool(x.repeat(1, 1, 9, 9)[..., begin:, begin:], kernel, stride)[..., : size[0], : size[1]]
    with CircularPadding():
        found = pool(x, kernel, stride, padding=padding, ceil_mode=ceil_mode)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding_of_any_mode_wraps_as_numpy_does(mode):
    x = noise(2, 3, 6, 5)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (3, 1), (2, 4)), mode="wrap")
    with CircularPadding():
        found = F.pad(x, (2, 4, 3, 1), mode=mode)
        unbatched = F.pad(x[0], (2, 4, 3, 1), mode=mode)
    assert np.array_equal(found.numpy(), expected)
    assert np.array_equal(unbatched.numpy(), expected[0])


@settings(max_examples=40)
@given(size=st.integers(1, 6), before=st.integers(0, 15), after=st.integers(0, 15))
def test_padding_wider_than_the_map_wraps_several_times(size, before, after):
    x = noise(1, 2, 3, size)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 0), (before, after)), mode="wrap")
    assert np.array_equal(wrap(x, -1, before, after).numpy(), expected)
    with CircularPadding():
        assert np.array_equal(F.pad(x, (before, after)).numpy(), expected)


def test_padding_of_other_dimensions_and_cropping_are_untouched():
    x = noise(2, 3, 6, 6)
    with CircularPadding():
        channels = F.pad(x, (0, 0, 0, 0, 1, 2))
        cropped = F.pad(x, (-1, -1, -2, 0))
        both = F.pad(x, (1, 0, 0, 0, 1, 2))
        vectors = F.pad(x[0, 0], (1, 1))
    assert torch.equal(channels, F.pad(x, (0, 0, 0, 0, 1, 2)))
    assert torch.equal(cropped, x[..., 2:, 1:-1])
    assert torch.equal(both, F.pad(torch.cat([x[..., -1:], x], -1), (0, 0, 0, 0, 1, 2)))
    assert torch.equal(vectors, F.pad(x[0, 0], (1, 1)))


def test_operations_without_padding_are_unchanged():
    x = noise(2, 3, 9, 9)
    net = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Flatten()))
    assert torch.equal(twin(net, x), net(x))


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, 2, "same"])
def test_convolutions_that_pad_for_themselves_are_not_padded_twice(padding_mode, padding):
    conv = seeded(lambda: nn.Conv2d(3, 4, 3, padding=padding, padding_mode=padding_mode))
    expected = seeded(lambda: nn.Conv2d(3, 4, 3, padding=padding, padding_mode="circular"))
    x = noise(1, 3, 8, 8)
    assert relative_error(twin(conv, x), expected(x)) <= 1e-6
    assert twin(conv, x).shape == conv(x).shape


def test_same_padding_of_even_kernels_puts_the_odd_cell_at_the_end():
    conv = seeded(lambda: nn.Conv2d(1, 1, 2, padding="same"))
    x = noise(1, 1, 5, 5)
    expected = F.conv2d(torch.cat([torch.cat([x, x[..., :1]], -1)] * 2, -2)[..., :6, :], conv.weight, conv.bias)
    assert torch.allclose(twin(conv, x), expected, atol=1e-6)


def test_pooling_with_indices_is_refused_only_where_it_would_wrap():
    x = noise(1, 1, 8, 8)
    with CircularPadding():
        F.max_pool2d(x, 2, return_indices=True)
        for pool in (nn.MaxPool2d(3, 2, 1, return_indices=True), lambda x: F.max_pool2d_with_indices(x, 3, 2, 1)):
            with refused():
                pool(x)


# Identities of equivariance.


def small(strides, padding_mode="zeros", head="gap", pool=None):
    """Convolution, normalisation and ReLU per stride, and a head."""
    blocks, channels = [], 3
    for stride in strides:
        conv = nn.Conv2d(channels, 8, 3, stride=stride, padding=1, padding_mode=padding_mode)
        blocks.append(nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU(inplace=True), *([pool] if pool else [])))
        channels = 8
    heads = {
        "gap": [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)],
        "gmp": [nn.AdaptiveMaxPool2d(1), nn.Flatten()],
        "flatten": [nn.Flatten(), nn.LazyLinear(5)],
        "map": [],
    }
    return nn.Sequential(*blocks, *heads[head])


@settings(max_examples=15)
@given(dx=st.integers(-20, 20), dy=st.integers(-20, 20))
@pytest.mark.parametrize("pool", [None, nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)])
def test_a_twin_without_strides_is_equivariant_to_the_last_bit(pool, dx, dy):
    net, x = seeded(lambda: small((1, 1, 1), head="map", pool=pool)), noise(1, 3, 12, 12)
    assert torch.equal(twin(net, x.roll((dy, dx), (2, 3))), twin(net, x).roll((dy, dx), (2, 3)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("strides", [(2, 1, 2), (2, 2, 2), (4, 1, 2)])
def test_a_strided_twin_is_equivariant_to_multiples_of_its_stride_only(strides, dtype, tolerance):
    net, x = seeded(lambda: small(strides, head="map"), dtype), noise(1, 3, 16, 16, dtype=dtype)
    total = int(np.prod(strides))
    exact = relative_error(twin(net, x.roll((total, -total), (2, 3))), twin(net, x).roll((1, -1), (2, 3)))
    broken = relative_error(twin(net, x.roll((1, 0), (2, 3))), twin(net, x))
    assert exact <= tolerance
    assert broken > 0.01


@pytest.mark.parametrize(("head", "tolerance"), [("gap", 1e-6), ("gmp", 0)])
def test_logits_of_a_pooling_twin_do_not_change_in_phase(head, tolerance):
    net, x = seeded(lambda: small((2, 2), head=head)), noise(1, 3, 16, 16)
    assert relative_error(twin(net, x.roll((4, -8), (2, 3))), twin(net, x)) <= tolerance
    assert relative_error(twin(net, x.roll((2, 1), (2, 3))), twin(net, x)) > 1e-3


def test_logits_of_a_flattening_twin_change():
    net, x = seeded(lambda: small((2, 2), head="flatten")), noise(1, 3, 16, 16)
    twin(net, x)
    assert relative_error(twin(net, x.roll((4, -8), (2, 3))), twin(net, x)) > 0.01


def test_max_pooling_is_equivariant_to_even_shifts_only():
    pool, x = nn.MaxPool2d(2), noise(1, 3, 8, 8).abs()
    assert torch.equal(twin(pool, x.roll(2, 2)), twin(pool, x).roll(1, 2))
    assert relative_error(twin(pool, x.roll(1, 2)), twin(pool, x)) > 0.1


def test_convolutions_alone_do_not_make_a_twin():
    """The negative control: circular convolutions around a max pooling that keeps its own border."""
    build = lambda: nn.Sequential(small((2,), "circular", "map"), nn.MaxPool2d(3, 2, padding=1))  # noqa: E731
    net, x = seeded(build), noise(1, 3, 16, 16)
    moved = x.roll((4, 4), (2, 3))
    assert relative_error(net(moved), net(x).roll((1, 1), (2, 3))) > 0.01
    assert torch.equal(twin(net, moved), twin(net, x).roll((1, 1), (2, 3)))


def test_sizes_not_divisible_by_the_stride_break_the_identity():
    net = seeded(lambda: small((2, 2, 2)))
    for side, holds in ((24, True), (20, False)):
        x = noise(1, 3, side, side)
        error = relative_error(twin(net, x.roll((8, 8), (2, 3))), twin(net, x))
        assert (error <= 1e-6) == holds
        assert holds or error > 1e-3


def test_resnet18_is_exact_in_phase_at_every_stage_and_only_there():
    from torchvision.models import resnet18

    net, x = seeded(lambda: resnet18(weights=None)), noise(1, 3, 64, 64)
    batch = torch.cat([x, x.roll((32, -32), (2, 3)), x.roll((1, 0), (2, 3))])
    maps: dict[str, Tensor] = {}
    with watch_outputs(net, ["layer1", "layer2", "layer3", "layer4"], lambda n, out: maps.update({n: out.clone()})):
        logits = twin(net, batch)
    for (name, z), stride in zip(maps.items(), (4, 8, 16, 32), strict=True):
        assert relative_error(z[1], z[0].roll((32 // stride, -32 // stride), (-2, -1))) <= 1e-6, name
    assert relative_error(logits[1], logits[0]) <= 1e-5
    assert relative_error(logits[2], logits[0]) > 1e-3
    assert relative_error(net(batch)[1], net(batch)[0]) > 1e-3  # as trained, with zeros


def test_timm_same_padding_has_a_twin():
    import timm

    net = seeded(lambda: timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=10))
    x = noise(1, 3, 64, 64)
    assert relative_error(twin(net, x.roll((32, -32), (2, 3))), twin(net, x)) <= 1e-5
    assert relative_error(twin(net, x.roll((1, 0), (2, 3))), twin(net, x)) > 1e-4
    assert relative_error(net(x.roll((32, -32), (2, 3))), net(x)) > 1e-4


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_layout_in_memory_is_kept(memory_format):
    net = seeded(lambda: small((1, 2), head="map")).to(memory_format=memory_format)
    x = noise(2, 3, 8, 8).to(memory_format=memory_format)
    assert twin(net, x).is_contiguous(memory_format=memory_format)


def test_nothing_is_left_behind():
    net, x = seeded(lambda: small((2, 1))), noise(1, 3, 8, 8)
    before, weights = net(x), {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.get_rng_state()
    assert relative_error(twin(net, x), before) > 1e-3
    with pytest.raises(RuntimeError), CircularPadding():
        net(noise(1, 4, 8, 8))
    assert torch.equal(net(x), before)
    assert all(torch.equal(weights[key], value) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_gradients_flow_through_the_twin():
    x = noise(1, 1, 4, 4).requires_grad_()
    with CircularPadding():
        F.avg_pool2d(x, 3, 1, 1).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))
