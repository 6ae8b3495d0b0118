"""Transfer learning: what is frozen does not move by a bit, and every parameter learns at its own rate."""

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.checkpoints import describe_model, load_checkpoint, pack_weights
from models.data.preprocessing import Preprocessing
from models.networks.transfer import (
    MODES,
    TransferConfig,
    TransferNet,
    adapt_preprocessing,
    is_backbone_frozen_at,
    load_backbone_weights,
    parameter_groups,
    prepare_mode,
)
from models.zoo.backbones import find_backbone
from tests.sentences import refused

SMALL = {"num_classes": 3, "image_size": 32, "backbone": "shufflenet_v2_x0_5"}
OWN = Preprocessing(crop_size=32, resize_size=32, mean=(0.2,) * 3, std=(0.3,) * 3)

ONE_OF_EACH_FAMILY = [
    *("efficientnet_lite0", "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s"),
    *("googlenet", "inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf"),
    *("resnet18", "resnet50", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_v2_t", "vgg11_bn", "vit_b_32"),
]


def build(**options) -> TransferNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TransferNet(TransferConfig(**{**SMALL, **options}))


def pictures(num=8, channels=3) -> torch.Tensor:
    return torch.rand(num, channels, 32, 32, generator=torch.Generator().manual_seed(1))


def take_steps(net, optimizer, total_steps, mode, first=0, last=None):
    """Optimisation steps ``first`` to ``last`` of a training, as a trainer takes them."""
    labels = torch.arange(8) % 3
    for step in range(first, last or total_steps):
        net.train()
        prepare_mode(net, mode, step, total_steps)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(pictures()), labels).backward()
        optimizer.step()


def snapshot(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def changed(before, module):
    return {key for key, value in module.state_dict().items() if not torch.equal(before[key], value)}


OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adamw": lambda groups: torch.optim.AdamW(groups, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("backbone", ["shufflenet_v2_x0_5", "mnasnet0_5"])
def test_a_frozen_backbone_does_not_move_by_a_bit(backbone, optimizer):
    net = build(backbone=backbone)
    backbone_before, head_before = snapshot(net.backbone), snapshot(net.head)
    optimizer = OPTIMIZERS[optimizer](parameter_groups(net, 0.1))
    prepare_mode(net, "frozen")
    for _ in range(3):
        net.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(pictures()), torch.arange(8) % 3).backward()
        optimizer.step()
    assert changed(backbone_before, net.backbone) == set()
    assert changed(head_before, net.head) == head_before.keys()
    assert all(parameter.grad is None for parameter in net.backbone.parameters())
    assert net.head.training and not any(module.training for module in net.backbone.modules())


def test_an_unfrozen_backbone_moves_everywhere():
    net = build(mode="unfrozen")
    before = snapshot(net)
    take_steps(net, OPTIMIZERS["sgd"](parameter_groups(net, 0.1)), 3, "unfrozen")
    assert changed(before, net) == before.keys()  # statistics of batch norm, too


def test_frozen_then_unfrozen_moves_from_its_share_on():
    net = build(mode="frozen_then_unfrozen", frozen_share=0.5)
    before = snapshot(net.backbone)
    optimizer = OPTIMIZERS["adamw"](parameter_groups(net, 0.01))
    take_steps(net, optimizer, 6, net.config.mode, last=3)
    assert changed(before, net.backbone) == set()
    take_steps(net, optimizer, 6, net.config.mode, first=3, last=4)
    assert changed(before, net.backbone) == before.keys()
    assert all(module.training for module in net.modules())


def test_freezing_again_leaves_no_gradient_to_apply():
    net = build()
    optimizer = OPTIMIZERS["sgd"](parameter_groups(net, 0.1))
    take_steps(net, optimizer, 2, "unfrozen")
    net.freeze_backbone(True)
    before = snapshot(net.backbone)
    optimizer.step()
    assert changed(before, net.backbone) == set()


def test_a_frozen_backbone_still_tells_which_pixels_matter():
    net = build().eval()
    net.freeze_backbone(True)
    x = pictures(1).requires_grad_()
    net(x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_freezing_keeps_eval_mode():
    net = build().eval()
    net.freeze_backbone(True)
    net.freeze_backbone(False)
    assert not any(module.training for module in net.modules())


@given(total=st.integers(1, 500), share=st.floats(0, 1), mode=st.sampled_from(sorted(MODES)))
@settings(max_examples=40)
def test_the_backbone_is_freed_once_and_stays_free(total, share, mode):
    frozen = [is_backbone_frozen_at(step, total, mode, share) for step in range(total)]
    assert frozen == sorted(frozen, reverse=True)
    expected = {"frozen": total, "unfrozen": 0, "frozen_then_unfrozen": math.ceil(share * total)}
    assert sum(frozen) == expected[mode]


@pytest.mark.parametrize("backbone", ONE_OF_EACH_FAMILY)
def test_groups_hold_every_parameter_once_at_its_rate(backbone):
    with torch.device("meta"):
        net = TransferNet(TransferConfig(backbone=backbone))
    groups = parameter_groups(net, 0.4, backbone_factor=0.5, depth_decay=0.1)
    assert [group["name"] for group in groups] == ["head", "backbone.2", "backbone.1", "backbone.0"]
    assert [group["lr"] for group in groups] == pytest.approx([0.4, 0.2, 0.02, 0.002])
    assert [group["lr"] for group in groups] == pytest.approx([0.4 * group["rate_factor"] for group in groups])
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in net.parameters())
    # In the order of the network, and no third without at least a fifth of the weight matrices.
    in_order = [id(parameter) for group in reversed(groups[1:]) for parameter in group["params"]]
    assert in_order == [id(parameter) for parameter in net.backbone.parameters()]
    layers = [sum(parameter.dim() > 1 for parameter in group["params"]) for group in groups[1:]]
    assert min(layers) >= sum(layers) / 5


def test_norms_learn_at_the_rate_of_their_convolution():
    groups = parameter_groups(build(backbone="resnet18"), 1.0)
    net = build(backbone="resnet18")
    rates = {}
    for group, like in zip(groups, parameter_groups(net, 1.0), strict=True):
        rates |= {id(parameter): group["lr"] for parameter in like["params"]}
    rate = {name: rates[id(parameter)] for name, parameter in net.named_parameters()}
    for layer in ("layer1.0", "layer2.1", "layer3.0", "layer4.1"):
        assert len({rate[name] for name in rate if name.startswith(f"backbone.{layer}.")}) == 1
    assert rate["backbone.conv1.weight"] == rate["backbone.bn1.weight"] < rate["backbone.layer4.1.conv2.weight"]


def test_optimizers_step_by_the_rates_of_the_groups():
    net = build(mode="unfrozen")
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    groups = parameter_groups(net, 0.5, backbone_factor=0.1, depth_decay=0.5)
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    take_steps(net, torch.optim.SGD(groups), 1, "unfrozen")
    for name, parameter in net.named_parameters():
        expected = before[name] - rate[id(parameter)] * parameter.grad
        torch.testing.assert_close(parameter, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("efficientnet_lite0", {"in_channels": 1}),
        ("swin_v2_t", {}),
        ("regnet_x_400mf", {"dropout": 0.0}),
        ("googlenet", {"mode": "unfrozen"}),
    ],
)
def test_checkpoints_give_the_same_logits(backbone, options, tmp_path):
    net = build(backbone=backbone, **options).eval()
    preprocessing = adapt_preprocessing(OWN, net.config)
    (tmp_path / "model.json").write_text(
        json.dumps(describe_model(net, "transfer", ("ant", "bee", "cat"), preprocessing))
    )
    (tmp_path / "weights.safetensors").write_bytes(pack_weights(net)[0])
    state = torch.get_rng_state()
    loaded, _, loaded_preprocessing = load_checkpoint(tmp_path / "model.json", tmp_path / "weights.safetensors")
    assert torch.equal(state, torch.get_rng_state())
    x = pictures(2, channels=net.config.in_channels)
    with torch.no_grad():
        # Up to the last bits, which depend on where tensors lie in memory.
        torch.testing.assert_close(loaded(x), net(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loaded.state_dict(), net.state_dict(), rtol=0, atol=0)
    assert loaded.config == net.config and loaded_preprocessing == preprocessing
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_grey_pictures_are_colour_pictures_with_equal_channels():
    grey, colour = build(in_channels=1).eval(), build().eval()
    colour.load_state_dict(grey.state_dict())
    pixels = pictures(4, channels=1)
    normalized = [
        adapt_preprocessing(OWN, net.config).normalize(pixels.expand(-1, channels, -1, -1))
        for net, channels in ((grey, 1), (colour, 3))
    ]
    with torch.no_grad():
        torch.testing.assert_close(grey(normalized[0]), colour(normalized[1]), rtol=1e-4, atol=1e-5)


def test_mean_and_std_are_the_backbones_and_the_rest_is_the_data_sets():
    config = TransferConfig(**SMALL)
    theirs = find_backbone(config.backbone).preprocessing
    assert adapt_preprocessing(OWN, config) == replace(OWN, mean=theirs.mean, std=theirs.std)


def test_the_bundled_weights_are_loaded_into_the_backbone_alone():
    from models.zoo.lite0 import efficientnet_lite0

    net = build(backbone="efficientnet_lite0")
    head = snapshot(net.head)
    load_backbone_weights(net)
    published = efficientnet_lite0().build().state_dict()
    assert all(torch.equal(value, published[key]) for key, value in net.backbone.state_dict().items())
    assert changed(head, net.head) == set()


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "inception_v3", "vit_h_14"])
def test_the_image_size_is_the_backbones_unless_chosen(backbone):
    assert TransferConfig(backbone=backbone).image_size == find_backbone(backbone).preprocessing.crop_size


def test_the_number_of_parameters_is_the_networks():
    net = build(backbone="efficientnet_lite0", num_classes=7)
    assert net.config.num_parameters == sum(parameter.numel() for parameter in net.parameters())
    # The published 4,652,008 count 1000 classes.
    assert net.config.num_parameters == 4_652_008 - (1000 - 7) * (1280 + 1)


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "resnet1000"},
        {"backbone": ["resnet18"]},
        {"backbone": "vit_b_16", "image_size": 128},
        {"image_size": 4},
        {"image_size": "64"},
        {"in_channels": 2},
        {"in_channels": 4},
        {"num_classes": 1},
        {"mode": "thawed"},
        {"mode": []},
        {"dropout": 1.0},
        {"frozen_share": 1.5},
        {"backbone_factor": -0.1},
        {"depth_decay": float("nan")},
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(options):
    with refused():
        TransferConfig(**{**SMALL, **options})
