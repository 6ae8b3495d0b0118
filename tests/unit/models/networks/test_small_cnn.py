"""SmallCNN: every combination of options, and refusals that name the numbers."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from models.checkpoints import load_checkpoint
from models.networks.padding import PADDING_MODES, PaddedMaxPool2d
from models.networks.parts import HEADS, NORMS, POOLING
from models.networks.small_cnn import SmallCNN, SmallCNNConfig
from models.networks.table import ARCHITECTURES
from tests.sentences import refused

ASSETS = Path(__file__).parents[4] / "assets"
OPTIONS = list(itertools.product(POOLING, PADDING_MODES, HEADS, NORMS))


def build(**options) -> SmallCNN:
    return SmallCNN(SmallCNNConfig(**{"channels": (4, 6, 8), **options})).eval()


@pytest.mark.parametrize(("pooling", "padding_mode", "head", "norm"), OPTIONS)
@pytest.mark.parametrize(("kernel_size", "image_size", "in_channels"), [(3, 28, 1), (5, 33, 3)])
def test_shapes_and_sizes(pooling, padding_mode, head, norm, kernel_size, image_size, in_channels):
    model = build(
        pooling=pooling,
        padding_mode=padding_mode,
        head=head,
        norm=norm,
        kernel_size=kernel_size,
        image_size=image_size,
        in_channels=in_channels,
        num_classes=7,
        dropout=0.1,
    )
    x = torch.rand(2, in_channels, image_size, image_size)
    sizes = [image_size]
    feature_map = x
    for block in model.features:
        feature_map = block(feature_map)
        sizes.append(feature_map.shape[-1])
    assert model(x).shape == (2, 7)
    assert tuple(sizes) == model.config.sizes
    assert model.config.num_parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("pooling", POOLING)
def test_explanation_methods_can_hook_every_relu_once(pooling):
    model, calls = build(pooling=pooling), []
    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    for relu in relus:
        assert not relu.inplace
        relu.register_forward_hook(lambda module, *_: calls.append(module))
    model(torch.rand(1, 1, 28, 28))
    assert calls == relus and len(relus) == 3


def test_names_of_parts():
    names = dict(build(dropout=0.2).named_modules())
    assert {"features.0.conv", "features.2.norm", "features.1.relu", "features.0.pool"} <= set(names)
    assert {"head.pool", "head.dropout", "head.classifier"} <= set(names)
    assert "features.2.pool" not in names


def test_gap_head_takes_other_image_sizes():
    assert build(head="gap")(torch.rand(1, 1, 40, 52)).shape == (1, 10)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_follows_its_config(name):
    config_class, model_class = ARCHITECTURES[name]
    config = replace(config_class(), num_classes=3, in_channels=3, image_size=32)
    assert model_class(config).eval()(torch.rand(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize(
    "options",
    [
        {"channels": (4,) * 6},
        {"channels": ()},
        {"channels": "32"},
        {"channels": (4, "x")},
        {"channels": (0,)},
        {"kernel_size": 4},
        {"kernel_size": True},
        {"pooling": "median"},
        {"padding_mode": "reflect", "channels": (4,) * 5, "kernel_size": 3},
        {"padding_mode": "circular", "channels": (4,) * 5, "kernel_size": 5},
        {"head": None},
        {"blur_size": 6},
        {"norm": "instance", "channels": (4,) * 5},
        {"norm": "layer", "channels": (4,) * 4 + (1,)},
        {"activation": "maxout"},
        {"norm": "weight"},
        {"dropout": float("nan")},
        {"num_classes": 1},
        {"image_size": 10**9},
        {"channels": (1024,) * 8, "kernel_size": 15, "pooling": "stride"},
    ],
    ids=str,
)
def test_bad_options_are_refused_in_words(options):
    with refused():
        SmallCNNConfig(**options)


def logit_errors(model: SmallCNN, x: torch.Tensor) -> torch.Tensor:
    """Relative error of the logits of one picture after each of its circular shifts, ``(H * W,)``."""
    side = x.shape[-1]
    shifted = torch.cat([x.roll((dy, dx), (2, 3)) for dy in range(side) for dx in range(side)])
    with torch.no_grad():
        logits = model(shifted)
    return (logits - logits[0]).norm(dim=1) / logits[0].norm()


def build_double(seed: int = 0, **options) -> SmallCNN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(image_size=16, **options).double()


PICTURE = torch.rand(1, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("pooling", ["aps", "aps_stride"])
@pytest.mark.parametrize("head", ["gap", "scan"])
def test_adaptive_sampling_and_circular_padding_ignore_every_circular_shift(pooling, head):
    model = build_double(pooling=pooling, padding_mode="circular", head=head)
    assert logit_errors(model, PICTURE).max() < 1e-12
    assert logit_errors(model.float(), PICTURE.float()).max() < 1e-5


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "aps", "padding_mode": "circular", "head": "flatten"},
        {"pooling": "aps", "padding_mode": "zeros"},
        {"pooling": "max", "padding_mode": "circular"},
        {"pooling": "blur", "padding_mode": "circular"},
    ],
)
def test_any_other_choice_does_not_ignore_shifts(options):
    assert logit_errors(build_double(**options), PICTURE).max() > 1e-4


def test_an_odd_map_on_the_way_breaks_adaptive_sampling():
    model = build_double(pooling="aps", padding_mode="circular")
    odd = torch.rand(1, 1, 18, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(3))  # 18, 9, 5
    assert logit_errors(model, odd).max() > 1e-4


@pytest.mark.parametrize("blur_size", [2, 3, 4, 5])
def test_a_network_with_blur_obeys_shifts_by_its_stride(blur_size):
    model = build_double(pooling="blur", padding_mode="circular", blur_size=blur_size)
    errors = logit_errors(model, PICTURE).view(16, 16)
    assert errors[::4, ::4].max() < 1e-12 < 1e-4 < errors.max()


@pytest.mark.parametrize("pooling", POOLING)
def test_weights_carry_over_between_all_kinds_of_pooling(pooling):
    weights = build(pooling="max").state_dict()
    model = build(pooling=pooling)
    model.load_state_dict(weights)
    model.train()(torch.rand(4, 1, 28, 28)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_the_scan_head_is_the_best_position():
    model = build_double(head="scan")
    features = model.features(PICTURE)
    scores = [model.head.classifier(features[:, :, i, j]) for i in range(4) for j in range(4)]
    torch.testing.assert_close(model(PICTURE), torch.stack(scores).amax(0), rtol=1e-12, atol=0)
    assert build(head="scan")(torch.rand(1, 1, 40, 52)).shape == (1, 10)
    build(head="scan").load_state_dict(build(head="gap").state_dict())


def test_sampling_at_fixed_pixels_after_dense_pooling_is_the_bundled_network():
    model, categories, _ = load_checkpoint(ASSETS / "fashion_cnn.json", ASSETS / "fashion_cnn.safetensors")
    assert model.config == SmallCNNConfig(channels=(32, 64, 128), num_classes=len(categories))
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    expected = x
    for i, block in enumerate(model.features):
        expected = block.relu(block.norm(block.conv(expected)))
        if i < 2:
            expected = PaddedMaxPool2d(2)(expected)[..., ::2, ::2]
    assert torch.equal(model(x), model.head(expected))


def test_every_padding_fits_blur_on_the_smallest_maps():
    for padding_mode in PADDING_MODES:
        model = build(
            image_size=2, channels=(4, 6), kernel_size=1, pooling="blur", blur_size=5, padding_mode=padding_mode
        )
        assert model(torch.rand(1, 1, 2, 2)).shape == (1, 10)
