"""Residual networks: torchvision's numbers, and exactly as invariant as their options promise."""

import pytest
import torch
from torch import nn

from models.networks.polyphase_sampling import PairedPolyphaseSampling2d, PolyphaseSampling2d
from models.networks.resnet import BUILDERS, PADDING_MODES, POOLING, ResNet, ResNetConfig
from tests.sentences import refused

SHIFTS = [(0, 0), (1, 0), (0, 1), (31, 17), (32, 32), (6, 45), (63, 2), (13, 58)]
PICTURE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def build(**options) -> ResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ResNet(ResNetConfig(**{"num_classes": 5, "image_size": 64, **options})).eval()


def logit_errors(model: ResNet, x: torch.Tensor = PICTURE, shifts=SHIFTS) -> torch.Tensor:
    """Relative error of the logits after each circular shift ``(dy, dx)``."""
    with torch.no_grad():
        logits = model(torch.cat([x.roll(shift, (2, 3)) for shift in shifts]))
    return (logits - logits[0]).norm(dim=1) / logits[0].norm()


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("side", [64, 75])
def test_logits_are_torchvisions(builder, side):
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        theirs = get_model(builder, weights=None, num_classes=5).eval()
    ours = build(builder=builder)
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("padding_mode", PADDING_MODES)
def test_weights_carry_over_and_gradients_reach_them(pooling, padding_mode):
    model = build(pooling=pooling, padding_mode=padding_mode)
    model.load_state_dict(build().state_dict())
    model.train()(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("builder", ["resnet18", "resnet50"])
def test_adaptive_sampling_and_circular_padding_ignore_circular_shifts(builder):
    model = build(builder=builder, pooling="aps", padding_mode="circular")
    assert logit_errors(model).max() < 1e-5
    if builder == "resnet18":
        assert logit_errors(model.double(), PICTURE.double()).max() < 1e-12


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "aps", "padding_mode": "zeros"},
        {"pooling": "stride", "padding_mode": "circular"},
        {"pooling": "blur", "padding_mode": "circular"},
    ],
)
def test_any_other_choice_does_not_ignore_shifts(options):
    assert logit_errors(build(**options)).max() > 1e-3


def test_branches_that_sample_on_their_own_break_the_invariance(monkeypatch):
    def unpaired(self, x, shortcut):
        return PolyphaseSampling2d()(x), PolyphaseSampling2d()(shortcut)

    monkeypatch.setattr(PairedPolyphaseSampling2d, "forward", unpaired)
    assert logit_errors(build(pooling="aps", padding_mode="circular")).max() > 1e-3


def test_an_odd_map_on_the_way_breaks_the_invariance():
    x = torch.rand(1, 3, 72, 72, generator=torch.Generator().manual_seed(0))  # 36, 18, 9, 5, 3
    assert logit_errors(build(pooling="aps", padding_mode="circular"), x).max() > 1e-3


@pytest.mark.parametrize("pooling", ["stride", "blur"])
def test_circular_networks_obey_shifts_by_their_stride(pooling):
    errors = logit_errors(
        build(pooling=pooling, padding_mode="circular"), shifts=[(0, 0), (32, 0), (0, 32), (32, 32)]
    )
    assert errors.max() < 1e-5


def test_padding_of_max_pooling_wraps_around_too():
    model = build(pooling="stride", padding_mode="circular")
    model.maxpool.padding_mode = "zeros"
    assert logit_errors(model, shifts=[(0, 0), (32, 0), (0, 32)]).max() > 1e-4


@pytest.mark.parametrize("pooling", POOLING)
def test_sizes_and_relus(pooling):
    model, sides, calls = build(pooling=pooling, image_size=75), [], []
    stages = [model.sample1, model.sample2, model.layer2, model.layer3, model.layer4]
    for stage in stages:
        stage.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    for relu in relus:
        relu.register_forward_hook(lambda module, *_: calls.append(module))
    model(torch.rand(1, 3, 75, 75))
    assert (75, *sides) == model.config.sizes
    assert calls == relus and not any(relu.inplace for relu in relus)


@pytest.mark.parametrize(
    "options",
    [
        {"builder": "resnet101"},
        {"padding_mode": "reflect"},
        {"pooling": "max"},
        {"blur_size": 1},
        {"image_size": 4},
        {"num_classes": 10**9},
    ],
    ids=str,
)
def test_bad_options_are_refused_in_words(options):
    with refused():
        ResNetConfig(**options)
