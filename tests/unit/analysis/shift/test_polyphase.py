"""All circular shifts from one pass against one forward per shift, on every kind of network, within the memory."""

import random
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.network.layers import extract_features
from analysis.shift.circular import CircularPadding
from analysis.shift.polyphase import AllShifts, compute_all_shifts
from tests.unit.analysis.shift.followed import NETS, Mean, conv, head, noise, seeded


def awaken(net: nn.Module, x: Tensor) -> nn.Module:
    """Gives normalisation the statistics of noise, without which a deep random network answers anything alike."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        net(torch.randn(8, *x.shape[1:], dtype=x.dtype))
    return net.eval()


def brute_force(net, x: Tensor, period: tuple[int, int]) -> Tensor:
    """``(rows, columns, K)``: one plain forward of the circular twin per shift."""
    shifts = [(dy, dx) for dy in range(period[0]) for dx in range(period[1])]
    batches = [torch.cat([x.roll(shift, (2, 3)) for shift in shifts[i : i + 64]]) for i in range(0, len(shifts), 64)]
    with torch.inference_mode(), CircularPadding():
        return torch.cat([net(batch) for batch in batches]).view(*period, -1)


def largest_error(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


def check_features(net, x: Tensor, result: AllShifts, name: str, tolerance: float = 1e-5) -> None:
    rng = random.Random(0)
    for _ in range(4):
        dx, dy = rng.randint(-80, 80), rng.randint(-80, 80)
        with CircularPadding():
            expected = extract_features(net, x.roll((dy, dx), (2, 3)), name)[0]
        error = (result.feature(name, dx, dy) - expected).norm() / expected.norm()
        assert error <= tolerance, (name, dx, dy)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_logits_of_all_shifts_equal_one_forward_each(name, dtype, tolerance):
    build, period = NETS[name]
    net, x = seeded(build, dtype), noise(dtype=dtype)
    result = compute_all_shifts(net, x)
    assert result.period == period
    assert result.num_parts == 1
    assert result.logits.dtype == dtype
    expected = brute_force(net, x, (16, 16))
    assert largest_error(result.logits.repeat(16 // period, 16 // period, 1), expected) <= tolerance
    assert result.max_error <= tolerance
    assert torch.equal(result.logits_at(-3, 35), result.logits[35 % period, -3 % period])


def test_the_logits_of_a_strided_network_take_one_value_per_phase():
    """All 256 shifts of a stride-4 network: 16 values, and they do differ."""
    net, x = seeded(NETS["residual, gate"][0]), noise()
    values = brute_force(net, x, (16, 16))
    assert largest_error(values[:4, :4].repeat(4, 4, 1), values) <= 1e-5
    assert largest_error(values[:1, :1].expand(4, 4, -1), values[:4, :4]) > 1e-3


def build_randomly(rng: random.Random) -> tuple[nn.Module, int]:
    """A net of random kernels, strides, paddings, pools and residual blocks, and a side that it divides."""
    side, scale, width, blocks = rng.choice([12, 16, 18, 24]), 1, 3, []
    for _ in range(rng.randint(1, 4)):
        stride = rng.choice([s for s in (1, 1, 2, 2, 3, 4) if side % (scale * s) == 0])
        odd, even = rng.choice([1, 3, 5, 7]), rng.choice([0, 2]) + stride
        dilation = rng.choice([1, 2])
        mode = rng.choice(["zeros", "circular"])
        choices = [
            nn.Conv2d(width, 6, odd, stride, dilation * (odd // 2), dilation, padding_mode=mode),
            nn.Conv2d(width, 6, even, stride, (even - stride) // 2),
            nn.Sequential(nn.MaxPool2d(stride), nn.Conv2d(width, 6, 3, padding="same")),
            nn.Sequential(nn.AvgPool2d(3, stride, 1), nn.Conv2d(width, 6, 1)),
            nn.Sequential(nn.ZeroPad2d((2, 0, 1, 1)), nn.Conv2d(width, 6, 3, stride)),
        ]  # fmt: skip
        block = rng.choice(choices)
        blocks.append(Sum(block, nn.Conv2d(width, 6, 1, stride)) if rng.random() < 0.5 else block)
        blocks.append(rng.choice([nn.ReLU(inplace=True), nn.BatchNorm2d(6), nn.SiLU()]))
        scale, width = scale * stride, 6
    cells = side // scale
    ends = [
        head(6),
        [nn.AdaptiveMaxPool2d(1), nn.Flatten()],
        [nn.Flatten(), nn.Linear(6 * cells * cells, 5)],
        [Mean()],
    ]
    return nn.Sequential(*blocks, *rng.choice(ends)), side


class Sum(nn.Module):
    def __init__(self, *branches: nn.Module):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return sum(branch(x) for branch in self.branches)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), max_bytes=st.sampled_from([2**30, 2**18]))
def test_random_architectures_in_float64(seed, max_bytes):
    sides = []

    def build():
        net, side = build_randomly(random.Random(seed))
        sides.append(side)
        return net

    net = seeded(build, torch.float64, seed=seed % 1000)
    x = noise(sides[0], torch.float64)
    result = compute_all_shifts(net, x, layers=["0"], max_bytes=max_bytes)
    expected = brute_force(net, x, (result.period, result.period))
    # Where logits are almost nothing, rounding of what they are the small sum of shows.
    assert float((result.logits - expected).abs().max() / expected.abs().max()) <= 1e-12
    dx, dy = seed % 41 - 20, seed % 37 - 18
    kept = []
    handle = net[0].register_forward_hook(lambda module, inputs, output: kept.append(output[0].clone()))
    with CircularPadding():
        net(x.roll((dy, dx), (2, 3)))
    handle.remove()
    torch.testing.assert_close(result.feature("0", dx, dy), kept[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_resnet18_at_64_pixels(memory_format):
    from torchvision.models import resnet18

    net = seeded(lambda: resnet18(weights=None, num_classes=10)).to(memory_format=memory_format)
    x = noise(64).to(memory_format=memory_format)
    layers = ["relu", "layer1", "layer2.0", "layer3", "layer4.1.relu#2", "layer4"]
    result = compute_all_shifts(net, x, layers=layers)
    assert result.period == 32
    rows = brute_force(net, x.roll(5, 2), (1, 32))
    assert largest_error(result.logits[5], rows[0]) <= 1e-5
    assert largest_error(result.logits[:1].expand(32, -1, -1), result.logits) > 1e-3
    for name in layers:
        check_features(net, x, result, name)


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x0_5"])
def test_families_of_torchvision(name):
    from torchvision import models

    x = noise(32, torch.float64)
    net = awaken(seeded(lambda: models.get_model(name, weights=None, num_classes=10), x.dtype), x)
    result = compute_all_shifts(net, x)
    assert result.period == 32
    expected = brute_force(net, x.roll((7, 3), (2, 3)), (1, 6))[0]
    assert largest_error(result.logits[7, 3:9], expected) <= 1e-10
    assert largest_error(result.logits[7, 4:10], expected) > 1e-3  # its neighbours are something else


def test_convnext_with_its_channels_last_blocks():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    sizes = [CNBlockConfig(8, 16, 2), CNBlockConfig(16, 24, 1), CNBlockConfig(24, None, 1)]
    net, x = seeded(lambda: ConvNeXt(sizes, layer_scale=1.0, num_classes=10)), noise(32)
    result = compute_all_shifts(net, x, layers=["features.2"])
    assert result.period == 16
    assert largest_error(result.logits, brute_force(net, x, (16, 16))) <= 1e-5
    check_features(net, x, result, "features.2")


def test_squeezenet_with_its_ceiling_pools():
    from torchvision.models import squeezenet1_1

    def build():
        net = squeezenet1_1(weights=None, num_classes=10)
        net.features[0].padding = (1, 1)  # as published, its first layer makes 31 x 31 cells of 64 x 64
        return net

    net, x = seeded(build), noise(32)
    result = compute_all_shifts(net, x, layers=["features.5"])
    assert result.period == 16
    assert largest_error(result.logits, brute_force(net, x, (16, 16))) <= 1e-5
    check_features(net, x, result, "features.5")


def test_densenet():
    from torchvision.models import DenseNet

    net, x = seeded(lambda: DenseNet(8, (2, 2, 2), 16, num_classes=10)), noise(32)
    result = compute_all_shifts(net, x, layers=["features.denseblock2"])
    assert result.period == 16
    assert largest_error(result.logits, brute_force(net, x, (16, 16))) <= 1e-5
    check_features(net, x, result, "features.denseblock2")


def test_timm_same_padding():
    import timm

    x = noise(32, torch.float64)
    build = lambda: timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=10)  # noqa: E731
    net = awaken(seeded(build, x.dtype), x)
    result = compute_all_shifts(net, x, layers=["blocks.2"])
    assert result.period == 32
    assert largest_error(result.logits[9, :6], brute_force(net, x.roll(9, 2), (1, 6))[0]) <= 1e-10
    assert largest_error(result.logits[9], result.logits[10]) > 1e-3
    check_features(net, x, result, "blocks.2", 1e-6)  # which are compared in float32


def test_pictures_and_strides_need_not_be_square():
    net = seeded(lambda: nn.Sequential(conv(stride=(2, 1)), conv(8, 8, stride=(2, 2)), *head()), torch.float64)
    x = noise((16, 24), torch.float64)
    result = compute_all_shifts(net, x)
    assert result.logits.shape == (4, 2, 5)
    assert result.period == 4
    assert largest_error(result.logits, brute_force(net, x, (4, 2))) <= 1e-12
    net = seeded(lambda: nn.Sequential(conv(stride=4), nn.Flatten(), nn.Linear(8 * 24, 5)), torch.float64)
    result = compute_all_shifts(net, x)
    assert largest_error(result.logits, brute_force(net, x, (16, 24))) <= 1e-12


@pytest.mark.parametrize("name", ["twice", "flatten", "view", "flatten after uneven pooling", "adaptive"])
def test_parts_give_what_one_pass_gives(name):
    net, x = seeded(NETS[name][0], torch.float64), noise(dtype=torch.float64)
    whole = compute_all_shifts(net, x, layers=["0"])
    needed = []
    for kib in (400, 200, 140, 100, 70):
        reports = []

        def report(done, total, reports=reports):
            reports.append((done, total))

        parts = compute_all_shifts(net, x, layers=["0"], max_bytes=kib * 2**10, progress=report)
        assert largest_error(parts.logits, whole.logits) <= 1e-12
        for dx, dy in ((0, 0), (5, -3), (-1, 22)):
            torch.testing.assert_close(parts.feature("0", dx, dy), whole.feature("0", dx, dy), rtol=0, atol=1e-12)
        assert [done for done, _ in reports] == list(range(1, parts.num_parts + 4))
        assert {total for _, total in reports} == {parts.num_parts + 3}
        needed.append(parts.num_parts)
    assert needed == sorted(needed)
    assert needed[-1] > 1


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors made inside the block held at once."""

    def __init__(self):
        super().__init__()
        self.live: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            storage = tensor.untyped_storage() if isinstance(tensor, Tensor) else None
            if storage is not None and storage.data_ptr() not in self.live:
                address = storage.data_ptr()
                self.live[address] = storage.nbytes()
                weakref.finalize(storage, self.live.pop, address, None)
        self.peak = max(self.peak, sum(self.live.values()))
        return result


@pytest.mark.parametrize("name", ["mobilenet", "densenet", "small maps", "flatten"])
def test_memory_stays_within_the_budget(name):
    from torchvision import models

    build, max_bytes = {
        "mobilenet": (lambda: models.mobilenet_v2(weights=None, num_classes=10, width_mult=0.25), 5 * 2**20),
        "densenet": (lambda: models.DenseNet(8, (2, 2, 2), 16, num_classes=10), 2**19),
        "small maps": (NETS["wide kernels on small maps"][0], 2**15),
        "flatten": (NETS["flatten"][0], 2**18),
    }[name]
    net, x = seeded(build), noise(16 if build in [build for build, _ in NETS.values()] else 32)
    whole = compute_all_shifts(net, x)
    with LiveBytes() as live:
        parts = compute_all_shifts(net, x, max_bytes=max_bytes)
    assert whole.num_parts == 1 < parts.num_parts
    assert max_bytes / 50 < live.peak <= max_bytes
    assert largest_error(parts.logits, whole.logits) <= 1e-5
