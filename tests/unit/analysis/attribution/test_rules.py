"""DeepLift and LRP: captum's own where that is right, what they conserve, and copies that they work on."""

import captum.attr
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.attribution.methods import attribute, find_obstacles
from analysis.attribution.rewriting import rewrite
from tests.unit.analysis.attribution.explained import ResidualNet


def plain_net() -> nn.Sequential:
    """What captum itself can do: every module once, windows that do not overlap."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    ).eval()


class Overlapping(nn.Module):
    """Functional ReLUs, one used twice, a pooling whose windows overlap, and a sum with what was before."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=bias)
        self.fc = nn.Linear(6, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 3, 2, 1)
        x = F.relu(x + self.conv2(x))
        return self.fc(x.mean((2, 3)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["deep_lift", "lrp", "deep_lift_shap"])
def test_on_a_plain_network_they_are_captums(method, image) -> None:
    net = plain_net().double()
    image, start = image.double(), torch.rand(1, 3, 12, 12).double()

    if method == "lrp":
        for layer in net:
            if not isinstance(layer, nn.ReLU | nn.Flatten):
                layer.rule = captum.attr._utils.lrp_rules.EpsilonRule(1e-3)
        found = attribute(net, image, 1, method)
        bare = nn.Sequential(*(layer for layer in net if not isinstance(layer, nn.Flatten | nn.Linear)))

        class Whole(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body, self.fc = bare, net[-1]

            def forward(self, x: Tensor) -> Tensor:
                return self.fc(self.body(x).flatten(1))

        expected = captum.attr.LRP(Whole()).attribute(image, 1)
    elif method == "deep_lift":
        found = attribute(net, image, 1, method, baseline=start)
        expected = captum.attr.DeepLift(net).attribute(image, start, 1)
    else:
        found = attribute(net, image, 1, method, baseline=start, n_baselines=3, seed=4)
        generator = torch.Generator().manual_seed(4)
        noise = torch.cat([torch.randn(image.shape, generator=generator) for _ in range(3)]).double()
        baselines = start + 0.15 * (image.max() - image.min()) * noise
        expected = captum.attr.DeepLiftShap(net).attribute(image, baselines, 1)

    strongest = expected.abs().max()
    torch.testing.assert_close(found.values / strongest, (expected[0] / strongest).float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("build", [ResidualNet, Overlapping])
@pytest.mark.parametrize("versus", [None, 0])
def test_deep_lift_adds_up_on_a_copy(build, versus, image) -> None:
    net, image = build().double().eval(), image.double()

    result = attribute(net, image, 1, "deep_lift", versus=versus)

    scores = (net(image) - net(0 * image))[0].detach()
    difference = scores[1] - (0 if versus is None else scores[versus])
    assert float(result.values.double().sum()) == pytest.approx(float(difference), rel=1e-4)
    assert result.completeness_gap < 1e-6


def rescale(net: nn.Sequential, x: Tensor, start: Tensor, target: int) -> Tensor:
    """DeepLift layer by layer, from the differences of all activations, with loops over the windows of a pooling."""
    pairs = [torch.cat([x, start])]
    for layer in net:
        pairs.append(layer(pairs[-1]).detach())
    multiplier = torch.zeros_like(pairs[-1][:1])
    multiplier[0, target] = 1
    for layer, before, after in reversed(list(zip(net, pairs, pairs[1:], strict=False))):
        change, effect = before[:1] - before[1:], after[:1] - after[1:]
        if isinstance(layer, nn.ReLU):
            multiplier = multiplier * torch.where(change == 0, (before[:1] > 0).double(), effect / change)
        elif isinstance(layer, nn.MaxPool2d):
            given = torch.zeros_like(change)
            for channel, row, column in torch.cartesian_prod(*map(torch.arange, effect.shape[1:])).tolist():
                place = (channel, slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2))
                ours, theirs = before[0][place], before[1][place]
                high = max(ours.max(), theirs.max())
                weight = multiplier[0, channel, row, column]
                window = torch.zeros(4, dtype=x.dtype)
                window[ours.flatten().argmax()] += weight * (high - theirs.max())
                window[theirs.flatten().argmax()] += weight * (ours.max() - high)
                given[0][place] += window.view(2, 2)
            multiplier = torch.where(change == 0, torch.zeros_like(change), given / change)
        else:
            inputs = before[:1].clone().requires_grad_()
            (multiplier,) = torch.autograd.grad(layer(inputs), inputs, multiplier)
    return multiplier * (x - start)


def test_deep_lift_is_its_rules_where_a_pooling_follows_a_relu(image) -> None:
    net = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    ).double()
    image, start = image.double(), torch.rand(1, 3, 12, 12).double()

    found = attribute(net, image, 1, "deep_lift", baseline=start).values

    torch.testing.assert_close(found, rescale(net, image, start, 1)[0].float(), rtol=1e-4, atol=1e-7)


@pytest.mark.filterwarnings("ignore")
def test_where_captum_is_asked_directly_overlapping_windows_lose_a_part(image) -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.MaxPool2d(3, 1), nn.Flatten(), nn.Linear(384, 3)).double()
    image = image.double()

    found = attribute(net, image, 1, "deep_lift")
    direct = captum.attr.DeepLift(net).attribute(image, target=1)

    difference = float((net(image) - net(0 * image))[0, 1])
    assert float(found.values.double().sum()) == pytest.approx(difference, rel=1e-4)
    assert float(direct.sum()) != pytest.approx(difference, rel=1e-2)


def test_rescale_rule_of_other_activations(image) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 4, 3), nn.Hardswish(), nn.Flatten())
    net = nn.Sequential(*net, nn.Linear(256, 3)).double()

    assert not {"deep_lift", "lrp"} & find_obstacles(net, image.double()).keys()
    assert attribute(net, image.double(), 2, "deep_lift").completeness_gap < 1e-6


@pytest.mark.parametrize("bias", [False, True])
def test_lrp_keeps_the_score_but_for_biases(bias, image) -> None:
    net, image = Overlapping(bias).double().eval(), image.double()

    result = attribute(net, image, 1, "lrp", epsilon=1e-9)

    total, score = float(result.values.double().sum()), float(net(image)[0, 1])
    if bias:
        assert total != pytest.approx(score, rel=1e-3)
    else:
        assert total == pytest.approx(score, rel=1e-4)


def test_lrp_is_its_formula_where_a_map_goes_two_ways(image) -> None:
    net, image, epsilon = Overlapping().double().eval(), image.double(), 0.01

    found = attribute(net, image, 1, "lrp", epsilon=epsilon).values

    def step(inputs: Tensor, layer, relevance: Tensor) -> Tensor:
        """``x * d(sum_j z_j * R_j / (z_j + eps sign z_j)) / dx``, with the ratio held."""
        inputs = inputs.detach().requires_grad_()
        z = layer(inputs)
        ratio = (relevance / (z + epsilon * torch.where(z >= 0, 1.0, -1.0))).detach()
        (gradient,) = torch.autograd.grad((z * ratio).sum(), inputs)
        return (inputs * gradient).detach()

    hidden = F.relu(net.conv1(image))
    pooled = F.max_pool2d(hidden, 3, 2, 1)
    added = pooled + net.conv2(pooled)
    means = F.relu(added).mean((2, 3), keepdim=True)
    start = torch.zeros(1, 3).double()
    start[0, 1] = net(image)[0, 1].detach()
    # Captum begins with one for the class and multiplies with the score at the end.
    relevance = step(means, lambda x: net.fc(x.flatten(1)), start)
    relevance = step(F.relu(added), lambda x: F.adaptive_avg_pool2d(x, 1), relevance)
    ratio = (relevance / (added + epsilon * torch.where(added >= 0, 1.0, -1.0))).detach()
    direct, branch = pooled * ratio, net.conv2(pooled) * ratio
    relevance = direct + step(pooled, net.conv2, branch)
    relevance = step(hidden, lambda x: F.max_pool2d(x, 3, 2, 1), relevance)
    expected = step(image, net.conv1, relevance)[0]
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-6)


def test_a_copy_shares_weights_computes_the_same_and_leaves_the_network_alone(image) -> None:
    net = ResidualNet().eval()
    before = {name: type(part) for name, part in net.named_modules()}

    copied = rewrite(net, image).module

    assert copied is not None
    torch.testing.assert_close(copied(image), net(image))
    assert {id(p) for p in copied.parameters()} <= {id(p) for p in net.parameters()}
    relus = [part for part in copied.modules() if isinstance(part, nn.ReLU)]
    assert len(relus) == 3 and not any(part.inplace for part in relus)
    assert {name: type(part) for name, part in net.named_modules()} == before and net.relu.inplace


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(400, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.fc((x if x.sum() > 0 else F.relu(x)).flatten(1))


class Forgetful(Branching):
    """Goes on with what a function has changed in place without taking its result."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        F.relu(x, inplace=True)
        return self.fc(x.flatten(1))


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (Branching(), "cannot be followed"),
        (Forgetful(), "computes other scores"),
        (nn.Sequential(nn.Flatten(), nn.LayerNorm(432), nn.Linear(432, 3)), "LayerNorm"),
    ],
)
def test_where_there_is_no_copy_the_obstacle_says_why(net, reason, image) -> None:
    obstacles = find_obstacles(net, image)

    assert all(reason in obstacles[name] for name in ("deep_lift", "deep_lift_shap", "lrp"))
