"""Which methods can explain which model: one model of each torchvision family, and awkward small ones."""

from collections.abc import Callable

import pytest
import torch
import torchvision.models as tv
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torchvision.models.maxvit import MaxVit

from analysis.attribution.methods import METHODS, attribute, find_obstacles
from analysis.attribution.obstacles import default_layer, trace_forward
from analysis.attribution.placement import enlarge, find_centres
from analysis.errors import UserError
from tests.nightly import mostly_nightly
from tests.unit.analysis.attribution.explained import describe

RULES = {"deep_lift", "deep_lift_shap", "lrp"}
GUIDED = {name for name, method in METHODS.items() if method.needs_relu}
CAM = {name for name, method in METHODS.items() if method.needs_layer}


def build(name: str, **options) -> Callable[[], nn.Module]:
    return lambda: tv.get_model(name, weights=None, num_classes=5, **options)


def build_vit() -> nn.Module:
    return tv.VisionTransformer(32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32)


def build_swin() -> nn.Module:
    return tv.SwinTransformer([4, 4], embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=[2, 2])


def build_maxvit() -> nn.Module:
    return MaxVit((64, 64), 8, 2, block_channels=[8, 16], block_layers=[1, 1], head_dim=8, stochastic_depth_prob=0)


FAMILIES = {
    "alexnet": (build("alexnet"), 96, "features.11", set()),
    "vgg": (build("vgg11", init_weights=False), 64, "features.19", set()),
    "resnet": (build("resnet18"), 64, "layer4", set()),
    "squeezenet": (build("squeezenet1_1"), 64, "classifier.2", set()),
    "densenet": (build("densenet121"), 64, "features", set()),
    "googlenet": (build("googlenet", aux_logits=False, init_weights=False), 64, "inception5b", set()),
    "inception": (build("inception_v3", aux_logits=False, init_weights=False), 299, "Mixed_7c", set()),
    "mobilenet_v2": (build("mobilenet_v2", width_mult=0.25), 64, "features", set()),
    "mobilenet_v3": (build("mobilenet_v3_small", width_mult=0.25), 64, "features", GUIDED | RULES),
    "mnasnet": (build("mnasnet0_5"), 64, "layers", set()),
    "shufflenet": (build("shufflenet_v2_x0_5"), 64, "conv5", set()),
    "efficientnet": (build("efficientnet_b0"), 64, "features", GUIDED | RULES),
    "regnet": (build("regnet_y_400mf"), 64, "trunk_output", RULES),
    "convnext": (build("convnext_tiny"), 64, "features", GUIDED | RULES),
    "swin": (build_swin, 32, "permute", GUIDED | RULES),
    "maxvit": (build_maxvit, 64, "blocks.1", GUIDED | RULES),
    "vit": (build_vit, 32, None, GUIDED | CAM | RULES),
}


class LastMap(TorchFunctionMode):
    """Keeps what enters the last pooling to one cell, or, in a network without, the last pooling of all."""

    def __init__(self) -> None:
        super().__init__()
        self.pooled = self.averaged = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.__name__ in ("mean", "adaptive_avg_pool2d") and result.numel() == args[0].shape[:2].numel():
            self.averaged = args[0]
        elif func.__name__ in ("boolean_dispatch", "max_pool2d", "_max_pool2d"):
            self.pooled = args[0]
        return result

    @property
    def map(self) -> Tensor:
        return self.pooled if self.averaged is None else self.averaged


@pytest.mark.parametrize("family", [name for name, (_, _, layer, _) in FAMILIES.items() if layer])
def test_grad_cam_is_that_of_the_map_that_is_pooled(family) -> None:
    builder, size, layer, _ = FAMILIES[family]
    torch.manual_seed(0)
    model, image = builder().eval(), torch.randn(1, 3, size, size)

    with LastMap() as seen:
        score = model(image.requires_grad_())[0, 1]
    (gradient,) = torch.autograd.grad(score, seen.map)
    cells = (gradient.mean((2, 3), keepdim=True) * seen.map.detach()).sum(1, keepdim=True)

    expected = enlarge(cells, (size, size), find_centres(model, image, layer))[0]
    strongest = expected.abs().max()
    result = attribute(model, image, 1, "grad_cam")
    torch.testing.assert_close(result.values / strongest, expected / strongest, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_model_of_each_family(family) -> None:
    builder, size, layer, obstacles = FAMILIES[family]
    torch.manual_seed(0)
    model = builder()
    image = torch.randn(1, 3, size, size)

    assert default_layer(model, image) == layer
    # Whoever has no attention to follow cannot be followed, and the other way round.
    assert set(find_obstacles(model, image)) == obstacles | ({"attention_rollout"} if family != "vit" else set())
    if layer is not None:
        result = attribute(model, image, 1, "grad_cam")
        assert result.layer == layer
        assert result.values.shape == (1, size, size)


SHORT = {"n_samples": 2, "n_steps": 2, "max_steps": 2, "n_masks": 4, "n_segments": 3, "n_baselines": 1}
"""The least that still runs everything once."""


@pytest.mark.parametrize("family", mostly_nightly(FAMILIES, {"resnet", "googlenet", "mobilenet_v2", "swin", "vit"}))
def test_what_works_works_and_leaves_nothing_behind(family) -> None:
    builder, size, *_ = FAMILIES[family]
    torch.manual_seed(0)
    model, image = builder(), torch.randn(1, 3, size, size)
    obstacles, before = find_obstacles(model, image), describe(model)

    for name, method in METHODS.items():
        known = {parameter.name for parameter in method.parameters}
        options = {key: value for key, value in SHORT.items() if key in known}
        options |= {"window": size // 2, "stride": size // 2} if name == "occlusion" else {}
        options |= {"n_samples": 8} if name in ("kernel_shap", "lime") else {}
        if name in obstacles:
            with pytest.raises(UserError) as refusal:
                attribute(model, image, 1, name, **options)
            assert str(refusal.value) == obstacles[name]
        else:
            assert attribute(model, image, 1, name, **options).values.isfinite().all(), name
        assert describe(model) == before, name


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.needs_rules])
@pytest.mark.parametrize("family", ["resnet", "densenet", "mobilenet_v2", "shufflenet"])
def test_rules_add_up_on_whole_families(family, name) -> None:
    builder, size, *_ = FAMILIES[family]
    torch.manual_seed(0)
    model, image = builder().double().eval(), torch.randn(1, 3, size, size).double()
    if name == "lrp":
        for part in model.modules():  # without biases nothing is kept back
            if isinstance(part, nn.BatchNorm2d):
                part.bias.data.zero_()
            if isinstance(part, nn.Linear):
                part.bias.data.zero_()
        result = attribute(model, image, 1, name, epsilon=1e-9)
        expected = model(image)[0, 1]
    else:
        result = attribute(model, image, 1, name, **({"noise_level": 0} if name == "deep_lift_shap" else {}))
        expected = (model(image) - model(0 * image))[0, 1]
    # In MobileNet at random the last maps are hardly larger than epsilon, which keeps a little of the score.
    assert float(result.values.double().sum()) == pytest.approx(float(expected), rel=2e-2 if name == "lrp" else 2e-3)


def test_an_image_too_small_for_the_last_block_falls_back_to_the_block_before() -> None:
    assert default_layer(tv.resnet50(), torch.randn(1, 3, 28, 28)) == "layer3"


def test_a_pooling_layer_is_no_default_but_can_be_chosen() -> None:
    body = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    model = nn.Sequential(body, nn.Flatten(), nn.Linear(32, 2))
    image = torch.randn(1, 1, 8, 8)

    assert default_layer(model, image) == "0.1"
    assert list(trace_forward(model, image).feature_maps) == ["0.0", "0.1", "0.2", "0"]


@pytest.mark.parametrize(("height", "width"), [(24, 40), (33, 17)])
def test_oblong_images_have_feature_maps_too(height, width) -> None:
    model = tv.mobilenet_v2(width_mult=0.1)

    assert "features.6" in trace_forward(model, torch.randn(1, 3, height, width)).feature_maps


class FunctionalNet(nn.Module):
    def __init__(self, rectify: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU()
        self.rectify = rectify

    def forward(self, x: Tensor) -> Tensor:
        return self.rectify(self.relu(self.conv(x))).mean((2, 3))


@pytest.mark.parametrize(
    ("rectify", "name"),
    [
        (F.relu, "ReLU as a function instead of a module"),
        (Tensor.relu_, "ReLU as a function instead of a module"),
        (F.gelu, "GELU"),
        (F.silu, "SiLU"),
        (F.hardswish, "Hardswish"),
        (F.leaky_relu, "LeakyReLU"),
        (nn.PReLU(), "PReLU"),
        (nn.RReLU(), "RReLU"),
        (F.elu, "ELU"),
        (nn.CELU(), "CELU"),
        (nn.SELU(), "ELU"),
        (F.mish, "Mish"),
        (F.softplus, "Softplus"),
        (nn.Hardtanh(), "Hardtanh, or ReLU6 as a function"),
        (F.relu6, "Hardtanh, or ReLU6 as a function"),
        (nn.Threshold(0.1, 0), "Threshold"),
    ],
)
def test_every_rectifier_that_the_guided_rule_misses_is_found(rectify, name) -> None:
    assert trace_forward(FunctionalNet(rectify), torch.randn(1, 3, 9, 9)).unguided == (name,)


@pytest.mark.parametrize("gate", [torch.sigmoid, F.hardsigmoid, nn.ReLU(), nn.ReLU6(inplace=True)])
def test_gates_and_relu_modules_are_no_obstacle(gate) -> None:
    assert find_obstacles(FunctionalNet(gate), torch.randn(1, 3, 9, 9)).keys() == {"attention_rollout"}


def test_without_any_relu_guided_backprop_would_be_the_plain_gradient() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(196, 2))

    obstacles = find_obstacles(model, torch.randn(1, 3, 9, 9))

    assert set(obstacles) == GUIDED | {"attention_rollout"}
    assert obstacles["guided_backprop"].endswith("this model has none.")
