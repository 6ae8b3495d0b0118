"""Every attribution method against captum or a formula, on models that are easy to explain wrongly."""

import captum.attr
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.attribution.method import GROUPS
from analysis.attribution.methods import METHODS, attribute, find_obstacles
from analysis.attribution.paths import TOLERANCE
from tests.sentences import refused
from tests.unit.analysis.attribution.explained import CONVOLUTIONAL, QUICK, ResidualNet

# --- each method against captum, used directly -----------------------------------------------------


DIRECT = (
    "saliency input_x_gradient guided_backprop deconvolution occlusion grad_cam guided_grad_cam "  # noqa: SIM905
    "layer_gradient_x_activation layer_conductance internal_influence".split()
)
"""Those that captum does without random numbers on ResidualNet itself; the others have tests of their own."""


def draw(cells: Tensor) -> Tensor:
    """Bilinear between the places that ResidualNet's conv3 looks at, pixels 1, 3 ... 9 of 12, by torch itself."""
    places = (torch.arange(12, dtype=cells.dtype) - 5) / 4
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    grid = torch.stack([columns, rows], dim=-1)[None]
    return F.grid_sample(cells, grid, mode="bilinear", padding_mode="border", align_corners=True)


def ask_captum(method: str, net: nn.Module, x: Tensor, target: int) -> Tensor:
    cam = captum.attr.LayerGradCam(net, net.conv3)
    guided = captum.attr.GuidedBackprop(net)
    direct = {
        "deconvolution": lambda: captum.attr.Deconvolution(net).attribute(x, target),
        "saliency": lambda: captum.attr.Saliency(net).attribute(x, target, abs=False),
        "input_x_gradient": lambda: captum.attr.InputXGradient(net).attribute(x, target),
        "guided_backprop": lambda: guided.attribute(x, target),
        "occlusion": lambda: captum.attr.Occlusion(net).attribute(x, (3, 2, 2), strides=(3, 1, 1), target=target),
        "grad_cam": lambda: draw(cam.attribute(x, target)),
        "layer_gradient_x_activation": lambda: draw(
            captum.attr.LayerGradientXActivation(net, net.conv3).attribute(x, target).sum(1, keepdim=True)
        ),
        "layer_conductance": lambda: draw(
            captum.attr.LayerConductance(net, net.conv3)
            .attribute(x, 0 * x, target, n_steps=32, method="riemann_trapezoid")
            .sum(1, keepdim=True)
        ),
        "internal_influence": lambda: draw(
            captum.attr.InternalInfluence(net, net.conv3).attribute(x, 0 * x, target, n_steps=32).sum(1, keepdim=True)
        ),
        "guided_grad_cam": lambda: guided.attribute(x, target) * draw(cam.attribute(x, target).relu()),
    }
    return direct[method]()[0].detach()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", DIRECT)
def test_every_method_is_captums(method, net, image) -> None:
    layer = "conv3" if METHODS[method].needs_layer else None

    result = attribute(net, image, 1, method, layer=layer)

    expected = ask_captum(method, net.eval(), image.requires_grad_(), 1)
    strongest = expected.abs().max()
    torch.testing.assert_close(result.values / strongest, expected / strongest)
    assert (result.method, result.target, result.layer) == (method, 1, layer)
    assert result.seconds > 0
    assert not result.is_flat


def test_smoothgrad_is_the_mean_gradient_over_its_noise(net, image) -> None:
    result = attribute(net, image, 2, "smoothgrad", seed=5, n_samples=6, noise_level=0.2, chunk=4)

    generator = torch.Generator().manual_seed(5)
    noise = torch.cat([torch.randn(image.shape, generator=generator) for _ in range(6)])
    noisy = (image + 0.2 * (image.max() - image.min()) * noise).requires_grad_()
    net.eval()(noisy)[:, 2].sum().backward()
    torch.testing.assert_close(result.values, noisy.grad.mean(0))


# --- and against definitions that do not use captum ------------------------------------------------


class _GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, ceiling):
        ctx.save_for_backward(x)
        ctx.ceiling = ceiling
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient.clamp(min=0) * ((x > 0) & (x < ctx.ceiling)), None


class GuidedModule(nn.Module):
    def __init__(self, ceiling: float) -> None:
        super().__init__()
        self.ceiling = ceiling

    def forward(self, x: Tensor) -> Tensor:
        return _GuidedReLU.apply(x, self.ceiling)


@pytest.mark.parametrize(("rectifier", "ceiling"), [(nn.ReLU, torch.inf), (nn.ReLU6, 6.0)])
def test_guided_backprop_acts_on_every_call_of_a_reused_in_place_relu(rectifier, ceiling, image) -> None:
    net = ResidualNet(rectifier).eval()
    # Large enough to reach the ceiling of ReLU6, too.
    x = 20 * image
    guided = attribute(net, x, 0, "guided_backprop").values
    plain = attribute(net, x, 0, "saliency").values

    net.relu = GuidedModule(ceiling)
    leaf = x.clone().requires_grad_()
    net(leaf)[0, 0].backward()
    torch.testing.assert_close(guided, leaf.grad[0])
    assert not torch.allclose(guided, plain)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv2_035"])
def test_guided_backprop_reaches_relu6_inside_timms_norm_layers(name) -> None:
    timm = pytest.importorskip("timm")
    from analysis.attribution.guided import with_plain_relus

    net = timm.create_model(name, num_classes=5).eval()
    x = torch.randn(1, 3, 64, 64)
    twin = with_plain_relus(net)

    assert torch.equal(twin(x), net(x))
    assert {id(p) for p in twin.parameters()} == {id(p) for p in net.parameters()}
    assert not {"guided_backprop", "deconvolution"} & find_obstacles(net, x).keys()
    guided, plain = (attribute(net, x, 0, method).values for method in ("guided_backprop", "saliency"))
    assert not torch.allclose(guided, plain)
    # All of that happened in a copy: the model still has its own activations.
    assert sum(isinstance(part, nn.ReLU6) for part in net.modules()) > 20
    assert not any(isinstance(part, nn.ReLU) for part in net.modules())


# --- integrated gradients: what they have to add up to ---------------------------------------------


@pytest.mark.parametrize("is_neutral", [True, False])
def test_integrated_gradients_are_the_integral(is_neutral, net, image) -> None:
    baseline = torch.zeros(3, 12, 12) if is_neutral else torch.rand(3, 12, 12)
    given = {} if is_neutral else {"baseline": baseline}

    values = attribute(net, image, 1, "integrated_gradients", n_steps=1000, max_steps=1000, **given).values

    ask = captum.attr.IntegratedGradients(net.eval())
    expected = ask.attribute(image, baseline[None], target=1, n_steps=1500, internal_batch_size=100)[0]
    assert (values - expected).abs().max() < 0.01 * expected.abs().max()


class Steep(nn.Module):
    """Its second logit is ``sum(x)`` to a power, so that the result for any points is known; counts pictures."""

    def __init__(self, power: float, scale: float = 1.0) -> None:
        super().__init__()
        self.power, self.scale, self.seen = power, scale, []

    def forward(self, x: Tensor) -> Tensor:
        self.seen += x.detach().mean((1, 2, 3)).tolist()
        score = self.scale * x.sum((1, 2, 3)).clamp(min=0) ** self.power
        return torch.stack([0 * score, score], dim=1)


def trapezoid(power: float, steps: int) -> float:
    """The integral from 0 to 1 of the derivative of ``t ** power``, at ``t = (j / steps) ** 2``."""
    u = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    heights = power * u ** (2 * (power - 1)) * 2 * u
    return float((heights.sum() - heights[-1] / 2) / steps)


@pytest.mark.parametrize(("power", "first", "last"), [(1, 4, 4), (12, 4, 64), (12, 5, 80), (60, 32, 256)])
def test_steps_are_doubled_until_the_map_adds_up(power, first, last) -> None:
    image = torch.full((1, 1, 2, 2), 0.25)
    steep = Steep(power)
    gaps = {steps: abs(trapezoid(power, steps) - 1) for steps in (first, last // 2, last)}

    result = attribute(steep, image, 1, "integrated_gradients", n_steps=first)

    assert result.completeness_gap == pytest.approx(gaps[last], abs=1e-5)
    assert result.completeness_gap < TOLERANCE and (last == first or gaps[last // 2] > TOLERANCE)
    assert float(result.values.sum()) == pytest.approx(trapezoid(power, last), abs=1e-5)
    # One picture for the trace, the two ends, and every point once.
    assert len(steep.seen) == 3 + last
    assert len(set(steep.seen[3:])) == last


def test_the_gap_is_told_where_doubling_ends() -> None:
    image, steep = torch.full((1, 1, 2, 2), 0.25), Steep(400)

    result = attribute(steep, image, 1, "integrated_gradients", n_steps=8, max_steps=31)

    assert len(steep.seen) == 3 + 16
    assert result.completeness_gap == pytest.approx(abs(trapezoid(400, 16) - 1), rel=1e-4)
    assert result.completeness_gap > TOLERANCE
    assert f"{100 * result.completeness_gap:.1f} %, where it stops" in result.remarks[0]


@pytest.mark.parametrize(("scale", "steps"), [(1e-4, 4), (1.0, 64), (1e4, 64)])
def test_the_gap_of_next_to_no_difference_is_not_relative_to_it(scale, steps) -> None:
    image, steep = torch.full((1, 1, 2, 2), 0.25), Steep(12, scale)

    result = attribute(steep, image, 1, "integrated_gradients", n_steps=4)

    assert len(steep.seen) == 3 + steps
    assert result.completeness_gap == pytest.approx(scale * abs(trapezoid(12, steps) - 1) / max(scale, 1), abs=1e-5)


def test_the_neutral_picture_itself_has_nothing_to_add_up(net) -> None:
    result = attribute(net, torch.zeros(1, 3, 12, 12), 1, "integrated_gradients")

    assert result.is_flat
    assert result.completeness_gap == 0


@pytest.mark.parametrize("method", CONVOLUTIONAL)
def test_only_methods_that_claim_to_add_up_have_a_gap(method, net, image) -> None:
    result = attribute(net, image, 0, method, **QUICK.get(method, {}))

    claims = METHODS[method].completeness is not None
    assert (result.completeness_gap is not None) == claims
    assert len(result.remarks) == claims


def test_the_shares_of_a_linear_model_are_its_score_without_its_bias(image) -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(432, 2))

    values = attribute(linear, image, 1, "input_x_gradient").values

    score = (linear(image) - linear[1].bias)[0, 1]
    torch.testing.assert_close(values.sum(), score.detach())


# --- the other definitions -------------------------------------------------------------------------


def test_occlusion_is_the_mean_drop_over_the_windows_that_cover_a_pixel(net, image) -> None:
    values = attribute(net, image, 0, "occlusion", window=5, stride=3, chunk=2).values

    net.eval()
    drops, counts = torch.zeros(12, 12), torch.zeros(12, 12)
    with torch.no_grad():
        for top in (0, 3, 6, 9):
            for left in (0, 3, 6, 9):
                covered = image.clone()
                covered[..., top : top + 5, left : left + 5] = 0
                drop = (net(image) - net(covered))[0, 0]
                drops[top : top + 5, left : left + 5] += drop
                counts[top : top + 5, left : left + 5] += 1
    torch.testing.assert_close(values, (drops / counts).expand(3, -1, -1))


def test_grad_cam_follows_its_formula(net, image) -> None:
    net.double().eval()
    image = image.double()
    result = attribute(net, image, 1, "grad_cam", layer="conv3")

    x = net.relu(net.bn(net.conv1(image)))
    maps = net.conv3(net.relu(net.conv2(x) + x)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net.fc(maps.relu().mean((2, 3)))[0, 1], maps)
    cam = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True)
    torch.testing.assert_close(result.values, draw(cam)[0].detach().float())
    assert result.values.shape == (1, 12, 12)
    assert result.placement == "centres"


# --- what a user may get wrong ---------------------------------------------------------------------


def test_a_model_that_ignores_its_input_gives_a_flat_map(net, image) -> None:
    net.fc.weight.data.zero_()

    assert attribute(net, image, 0, "saliency").is_flat


@pytest.mark.parametrize("method", [name for name in CONVOLUTIONAL if name != "eigen_cam"])  # which asks for no score
def test_values_that_are_not_finite_are_an_error(method, net, image) -> None:
    net.fc.weight.data.fill_(torch.nan)

    with refused():
        attribute(net, image, 0, method, **QUICK.get(method, {}))


@pytest.mark.parametrize(
    "arguments",
    [
        {"method": "magic"},
        {"target": 3},
        {"target": -1},
        {"inputs": torch.randn(2, 3, 12, 12)},
        {"method": "grad_cam", "layer": "conf3"},
        {"method": "grad_cam", "layer": "fc"},
        {"method": "occlusion", "window": 13},
        {"method": "occlusion", "window": 2, "stride": 3},
        {"method": "integrated_gradients", "baseline": torch.zeros(3, 5, 5)},
        {"method": "integrated_gradients", "n_steps": 0},
        {"method": "smoothgrad", "n_samples": 0},
        {"method": "smoothgrad", "chunk": 0},
        {"method": "smoothgrad", "n_samples": 2.5},
        {"method": "smoothgrad", "noise_level": float("nan")},
        {"method": "smoothgrad", "n_steps": 3},
        {"method": "saliency", "n_steps": 3},
        {"method": "saliency", "baseline": torch.zeros(3, 12, 12)},
        {"method": "saliency", "versus": 0},
        {"method": "saliency", "versus": 3},
    ],
)
def test_wrong_arguments_are_explained(arguments, net, image) -> None:
    arguments = {"inputs": image, "target": 0, "method": "saliency", **arguments}

    with refused():
        attribute(net, **arguments)


def test_a_method_under_an_obstacle_is_refused_with_the_reason(image) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(400, 2))
    obstacles = find_obstacles(net, image)

    assert set(obstacles) == {"guided_backprop", "deconvolution", "guided_grad_cam", "attention_rollout"}
    with refused("SiLU") as error:
        attribute(net, image, 0, "guided_backprop")
    assert str(error.value) == obstacles["guided_backprop"]


def test_a_model_without_one_score_per_class_is_refused(image) -> None:
    with refused():
        attribute(nn.Conv2d(3, 4, 3), image, 0, "saliency")


def test_every_method_is_described() -> None:
    for name, method in METHODS.items():
        assert method.name == name
        assert method.explanation.count(". ") == 2
        assert method.explanation.endswith(".")
        assert "arXiv:" in method.citation or "doi:" in method.citation
        assert method.group in GROUPS
        assert len({parameter.name for parameter in method.parameters}) == len(method.parameters)
        for parameter in method.parameters:
            assert parameter.default is None or parameter.check(parameter.default) == parameter.default
            assert parameter.explanation.endswith(".")
