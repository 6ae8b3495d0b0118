"""The CAM family against float64 loops over cells and channels, in closed forms, and with nothing left behind."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
import torchvision.models as tv
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.attribution.cams import SCORED, _find_short_way, _look
from analysis.attribution.methods import attribute
from analysis.attribution.placement import enlarge, find_centres
from analysis.attribution.question import Question
from analysis.errors import Cancelled, no_progress
from tests.sentences import refused
from tests.unit.analysis.attribution.explained import ResidualNet

GRADIENT = ("hires_cam", "grad_cam_plus_plus", "xgrad_cam", "layer_cam")
ASKING = ("score_cam", "ablation_cam")
ALL = (*GRADIENT, "eigen_cam", *ASKING)


Part = Callable[[Tensor], Tensor]
USED = {"score_cam": 6, "ablation_cam": 40}
"""Channels in the comparison with loops."""


class Halves:
    """A network cut at its last map: what gives the map, and what goes on from it; float64, seeded."""

    def __init__(
        self, net: nn.Module, layer: str, below: Callable[[Tensor], Tensor], above: Callable[[Tensor], Tensor]
    ):
        self.net, self.layer, self.below, self.above = net.double().eval(), layer, below, above


def build_resnet() -> Halves:
    net = tv.resnet18(weights=None, num_classes=5)
    parts = (net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4)
    return Halves(net, "layer4", nn.Sequential(*parts), lambda a: net.fc(a.mean((2, 3))))


def build_densenet() -> Halves:
    """Of its kind, with a ReLU as a function in place after the layer."""
    net = tv.DenseNet(8, (2, 2), 16, num_classes=5)
    return Halves(net, "features", lambda x: net.features(x).relu(), lambda a: net.classifier(a.mean((2, 3))))


def build_mobilenet() -> Halves:
    """Its map is signed, and what follows the mean is not linear."""
    net = tv.mobilenet_v3_small(weights=None, num_classes=5, width_mult=0.25)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):  # else next to nothing arrives at the last layer
            nn.init.uniform_(part.weight, 2, 4)
            nn.init.normal_(part.bias)
    return Halves(net, "features", net.features, lambda a: net.classifier(a.mean((2, 3))))


def build_flat() -> Halves:
    """A head that weighs every cell on its own, where the family's members all differ."""
    body = nn.Sequential(nn.Conv2d(3, 6, 5, 16, 2), nn.ReLU())
    head = nn.Sequential(nn.Flatten(), nn.Linear(96, 7), nn.Tanh(), nn.Linear(7, 5))
    return Halves(nn.Sequential(body, head), "0", body, head)


BUILDERS = {f.__name__.removeprefix("build_"): f for f in (build_resnet, build_densenet, build_mobilenet, build_flat)}


@pytest.fixture(params=BUILDERS)
def halves(request) -> Halves:
    torch.manual_seed(0)
    return BUILDERS[request.param]()


@pytest.fixture
def picture() -> Tensor:
    return torch.randn(1, 3, 64, 64, dtype=torch.float64)


# --- float64 loops, from the papers ----------------------------------------------------------------


def find_gradient(above: Callable[[Tensor], Tensor], maps: Tensor, target: int) -> np.ndarray:
    leaf = maps.clone().requires_grad_()
    above(leaf)[0, target].backward()
    return leaf.grad[0].numpy()


def compute(method: str, halves: Halves, picture: Tensor, target: int) -> Tensor:
    """The cells ``(h, w)`` of a method, number by number."""
    with torch.no_grad():
        maps = halves.below(picture)
        score = float(halves.above(maps.clone())[0, target])
    a, g = maps[0].numpy(), find_gradient(halves.above, maps, target)
    cells, counts = np.zeros(a.shape[1:]), a.shape
    if method == "eigen_cam":
        rows = a.reshape(counts[0], -1).T
        values, vectors = np.linalg.eigh(rows.T @ rows)
        along = rows @ vectors[:, values.argmax()]
        return torch.from_numpy(np.sign(along.sum()) * along.reshape(counts[1:]))
    places = list(product(range(counts[1]), range(counts[2])))
    scores: dict[int, float] = {}
    strongest = sorted(range(counts[0]), key=lambda k: -np.abs(a[k]).mean())
    for k in strongest[: USED.get(method)]:
        total = sum(a[k, i, j] for i, j in places)
        weight = None
        if method == "grad_cam_plus_plus":
            weight = 0.0
            for i, j in places:
                if g[k, i, j] > 0:
                    alpha = g[k, i, j] ** 2 / (2 * g[k, i, j] ** 2 + total * g[k, i, j] ** 3)
                    weight += alpha * g[k, i, j]
        elif method == "xgrad_cam":
            weight = sum(a[k, i, j] / total * g[k, i, j] for i, j in places) if total else 0.0
        elif method == "ablation_cam":
            without = maps.clone()
            without[0, k] = 0
            with torch.no_grad():
                weight = score - float(halves.above(without)[0, target])
        elif method == "score_cam" and a[k].max() > a[k].min():
            centres = find_centres(halves.net, picture, halves.layer)
            mask = enlarge(maps[:, k : k + 1], (64, 64), centres)
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            with torch.no_grad():
                scores[k] = float(halves.net(picture * mask)[0, target])
        for i, j in places:
            if method == "hires_cam":
                cells[i, j] += g[k, i, j] * a[k, i, j]
            elif method == "layer_cam":
                cells[i, j] += max(g[k, i, j], 0) * a[k, i, j]
            elif weight is not None:
                cells[i, j] += weight * a[k, i, j]
    best = max(scores.values(), default=0.0)
    for k, value in scores.items():
        cells += np.exp(value - best) / sum(np.exp(other - best) for other in scores.values()) * a[k]
    return torch.from_numpy(cells)


@pytest.mark.parametrize("method", ALL)
def test_it_is_the_papers_formula(method, halves, picture) -> None:
    options = {"channels": USED[method]} if method in ASKING else {}

    found = attribute(halves.net, picture, 3, method, layer=halves.layer, **options)

    cells = compute(method, halves, picture, 3)
    expected = enlarge(cells[None], (64, 64), find_centres(halves.net, picture, halves.layer))
    assert found.placement == "centres" and not found.is_flat
    assert (found.values - expected).abs().max() < 1e-5 * expected.abs().max()


def test_where_every_cell_has_a_weight_of_its_own_no_two_methods_agree(picture) -> None:
    torch.manual_seed(0)
    halves = build_flat()
    maps = [attribute(halves.net, picture, 3, method).values.flatten() for method in ("grad_cam", *ALL)]

    for first, one in enumerate(maps):
        assert all(torch.corrcoef(torch.stack([one, other]))[0, 1] < 0.9999 for other in maps[first + 1 :])


# --- closed forms ----------------------------------------------------------------------------------


def pooled(channels: int = 4, bias: float = 0.5) -> nn.Module:
    """One convolution, ReLU, mean, one linear layer."""
    net = nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.append(nn.Linear(channels, 3))
    nn.init.constant_(net[-1].bias, bias)
    return net.double()


def find_cells(net: nn.Module, image: Tensor, method: str, **options) -> Tensor:
    """Of ``pooled``: every cell is a pixel, whose border is drawn twice; ``(h, w)``."""
    return attribute(net, image, 1, method, layer="1", **options).values[0, 1:-1, 1:-1].double()


@pytest.fixture
def net_and_maps(image) -> tuple[nn.Module, Tensor]:
    net = pooled()
    return net, net[:2](image.double())[0].detach()


def test_after_a_mean_and_a_linear_layer_three_are_grad_cam(net_and_maps, image) -> None:
    net, maps = net_and_maps
    expected = torch.einsum("k,kij->ij", net[-1].weight[1].detach(), maps) / maps[0].numel()

    for method in ("grad_cam", "hires_cam", "xgrad_cam"):
        torch.testing.assert_close(find_cells(net, image.double(), method), expected, rtol=1e-5, atol=1e-6)
    positive = torch.einsum("k,kij->ij", net[-1].weight[1].detach().clamp(min=0), maps) / maps[0].numel()
    torch.testing.assert_close(find_cells(net, image.double(), "layer_cam"), positive, rtol=1e-5, atol=1e-6)


def test_ablation_weighs_by_what_a_channel_brings_to_a_linear_score(net_and_maps, image) -> None:
    net, maps = net_and_maps
    brought = net[-1].weight[1].detach() * maps.mean((1, 2))

    found = find_cells(net, image.double(), "ablation_cam")

    torch.testing.assert_close(found, (brought[:, None, None] * maps).sum(0), rtol=1e-5, atol=1e-6)
    # A negative score does not turn the map round.
    nn.init.constant_(net[-1].bias, -100)
    torch.testing.assert_close(find_cells(net, image.double(), "ablation_cam"), found, rtol=1e-5, atol=1e-6)


def test_the_cells_of_xgrad_cam_add_up_to_those_of_hires_cam(picture) -> None:
    torch.manual_seed(0)
    halves = build_flat()
    total = {method: float(compute(method, halves, picture, 2).sum()) for method in ("hires_cam", "xgrad_cam")}
    assert total["xgrad_cam"] == pytest.approx(total["hires_cam"])
    gradient = find_gradient(halves.above, halves.below(picture).detach(), 2).mean((1, 2))
    plain = float((gradient * halves.below(picture)[0].detach().numpy().sum((1, 2))).sum())
    assert plain != pytest.approx(total["hires_cam"], rel=0.01)


def test_eigen_cam_of_one_pattern_is_its_strength_and_the_same_for_every_class(net_and_maps, image) -> None:
    net, _ = net_and_maps
    nn.init.constant_(net[0].bias, 0)
    net[0].weight.data = torch.tensor([1.0, 2.0, 0.0, 3.0]).double()[:, None, None, None] * net[0].weight[:1].detach()

    maps = net[:2](image.double())[0].detach()

    expected = maps[0] * 14**0.5
    torch.testing.assert_close(find_cells(net, image.double(), "eigen_cam"), expected, rtol=1e-5, atol=1e-6)
    one, other = (attribute(net, image.double(), target, "eigen_cam").values for target in (0, 2))
    assert torch.equal(one, other)


def test_a_channel_that_is_silent_or_even_weighs_nothing(image) -> None:
    net = pooled()
    net[0].weight.data[:2] = 0
    net[0].bias.data[:2] = torch.tensor([-1.0, 1.0]).double()
    with torch.no_grad():
        alone = nn.Sequential(nn.Conv2d(3, 2, 3), *net[1:-1], nn.Linear(2, 3)).double()
        alone[0].weight.copy_(net[0].weight[2:]), alone[0].bias.copy_(net[0].bias[2:])
        alone[-1].weight.copy_(net[-1].weight[:, 2:])
        alone[-1].bias.copy_(net[-1].bias + net[-1].weight[:, 1])  # what the even one brings everywhere

    found, expected = (find_cells(each, image.double(), "score_cam") for each in (net, alone))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert find_cells(net, image.double(), "xgrad_cam").isfinite().all()
    net[0].weight.data[:] = 0
    assert not find_cells(net, image.double(), "score_cam").any()


# --- how they go about it --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ASKING)
def test_the_strongest_channels_come_first_and_the_others_weigh_nothing(method, net_and_maps, image) -> None:
    net, maps = net_and_maps
    strongest = int(maps.mean((1, 2)).argmax())

    found = find_cells(net, image.double(), method, channels=1)

    assert torch.corrcoef(torch.stack([found.flatten(), maps[strongest].flatten()]))[0, 1].abs() > 0.9999
    torch.testing.assert_close(
        find_cells(net, image.double(), method, channels=99), find_cells(net, image.double(), method, channels=None)
    )


@pytest.mark.parametrize("options", [{"channels": 0}, {"chunk": 0}])
@pytest.mark.parametrize("method", ASKING)
def test_no_channels_and_no_chunks_are_refused(method, options, net, image) -> None:
    with refused():
        attribute(net, image, 0, method, **options)


@pytest.mark.parametrize("method", ASKING)
def test_the_size_of_the_chunks_changes_nothing(method, net, image) -> None:
    one, other = (attribute(net, image, 0, method, chunk=chunk).values for chunk in (3, 50))
    torch.testing.assert_close(one, other)


def describe(net: nn.Module) -> list:
    hooks = [(part.training, len(part._forward_hooks), len(part._forward_pre_hooks)) for part in net.modules()]
    return [hooks, [(p.requires_grad, id(p.grad)) for p in net.parameters()], torch.get_rng_state().tolist()]


@pytest.mark.parametrize("method", ALL)
def test_nothing_is_left_behind_by_one_who_cancels(method, net, image) -> None:
    before, calls = describe(net), []

    def progress(done: int, total: int) -> None:
        calls.append(done)
        if done >= min(total, 4):
            raise Cancelled

    with pytest.raises(Cancelled):
        attribute(net, image, 0, method, progress=progress, **({"chunk": 2} if method in ASKING else {}))

    assert describe(net) == before
    assert calls[-1] in (1, 4)


class Cramped(ResidualNet):
    limit = 3

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.conv1(x)))
        x = self.conv3(self.relu(self.conv2(x) + x))
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        return self.fc(self.relu(x).mean((2, 3)))


@pytest.mark.parametrize("method", ASKING)
def test_chunks_are_halved_until_they_fit(method, image, caplog) -> None:
    net = Cramped()
    expected_calls = {"score_cam": "chunks of 2", "ablation_cam": "chunks of 2"}

    found = attribute(net, image, 0, method, layer="conv3", chunk=8).values

    if method == "score_cam":
        assert expected_calls[method] in caplog.text
    net.limit = 100
    torch.testing.assert_close(found, attribute(net, image, 0, method, layer="conv3", chunk=8).values)


# --- ablation: the network before the layer runs once ----------------------------------------------


class Joined(nn.Module):
    """What comes after its layer is joined with the picture itself, whose batch has to be as large."""

    def __init__(self, joins: Callable[[Tensor, Tensor], Tensor], features: int) -> None:
        super().__init__()
        self.conv, self.joins = nn.Conv2d(3, 4, 3, padding=1), joins
        self.fc = nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.joins(F.relu(self.conv(x), inplace=True), x).mean((2, 3)))


@pytest.mark.parametrize(
    ("joins", "features", "num_pictures"),
    [
        (lambda maps, x: maps, 4, 1),
        (lambda maps, x: maps * x.mean(1, keepdim=True), 4, 1),
        (lambda maps, x: torch.cat([maps, x], 1), 7, 5),
        (lambda maps, x: maps.view(len(x), 4, 12, 12), 4, 5),
        (lambda maps, x: maps + torch.arange(len(x))[:, None, None, None].mean(dtype=torch.float32), 4, 5),
    ],
)
def test_what_comes_before_the_layer_is_computed_once_where_the_network_allows(
    joins, features, num_pictures, image
) -> None:
    net, seen = Joined(joins, features).eval(), []
    with torch.no_grad():
        question = Question(net, image, 0, "conv", no_progress, 0)
        maps, score, number = _look(question)
        answer = _find_short_way(question, maps, number)
        net.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
        found = answer(maps.repeat(5, 1, 1, 1))

    assert seen == [num_pictures]
    assert found.shape == (5, 3)
    if num_pictures == 1:
        torch.testing.assert_close(found[:, 0], score.expand(5))


def test_score_cam_takes_so_many_channels_and_no_more(image) -> None:
    net, seen = nn.Sequential(nn.Conv2d(3, SCORED + 9, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), []
    seen_totals = partial(lambda done, total: seen.append(total))

    attribute(net, image, 0, "score_cam", progress=seen_totals)

    assert set(seen) == {SCORED}
