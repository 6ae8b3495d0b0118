"""VGG: the published table, torchvision's numbers, and training without normalisation."""

import pytest
import torch
from torch import nn

from models.networks.options import list_options
from models.networks.table import sketch_model
from models.networks.vgg import CONFIGURATIONS, VGG, VGGConfig
from tests.sentences import refused

PUBLISHED = {"A": 133, "A-LRN": 133, "B": 133, "C": 134, "D": 138, "E": 144}
LAYERS = {"A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19}
TORCHVISION = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}


def build(seed: int = 0, **options) -> VGG:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VGG(VGGConfig(**{"width": 0.1, "num_classes": 4, **options}))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_published_sizes(name):
    config = VGGConfig(configuration=name, width=1.0, image_size=224, num_classes=1000)
    assert round(config.num_parameters / 1e6) == PUBLISHED[name]
    sketch = sketch_model(config)
    assert sum(parameter.numel() for parameter in sketch.parameters()) == config.num_parameters
    weighted = [part for part in sketch.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    assert len(weighted) == LAYERS[name]


@pytest.mark.parametrize("name", TORCHVISION)
def test_shapes_are_torchvisions(name):
    from torchvision.models import get_model

    with torch.device("meta"):
        theirs = get_model(TORCHVISION[name], weights=None, init_weights=False)
    ours = sketch_model(VGGConfig(configuration=name, width=1.0, image_size=224, num_classes=1000))
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


@pytest.mark.parametrize("name", ["A", "D"])
def test_maps_are_torchvisions(name):
    from torchvision.models import get_model

    ours = build(configuration=name, width=1.0, image_size=32, head="gap").eval()
    with torch.device("meta"):
        theirs = get_model(TORCHVISION[name], weights=None, init_weights=False).features.eval()
    weights = zip(theirs.state_dict(), ours.features.state_dict().values(), strict=True)
    theirs.load_state_dict(dict(weights), assign=True)
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(ours.features(x), theirs(x))


def test_three_small_layers_instead_of_a_large_one():
    kernels = CONFIGURATIONS["D"].stages[2]
    assert 1 + sum(kernel - 1 for kernel in kernels) == 7
    assert sum(kernel**2 for kernel in kernels) == 27 < 49


def test_what_sets_the_configurations_apart():
    parts = dict(build(configuration="A-LRN").named_modules())
    assert isinstance(parts["features.0.lrn"], nn.LocalResponseNorm)
    assert sum(isinstance(part, nn.LocalResponseNorm) for part in parts.values()) == 1
    kernels = [part.kernel_size[0] for part in build(configuration="C").modules() if isinstance(part, nn.Conv2d)]
    assert kernels == [3, 3, 3, 3, 3, 3, 1, 3, 3, 1, 3, 3, 1]
    assert list_options(VGGConfig)["configuration"].choices.keys() == LAYERS.keys()


def fit(model: VGG) -> float:
    """The smallest loss in 40 steps on 16 pictures that differ in colour; log(4) = 1.39 is that of a guess."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(16, 3, 32, 32, generator=generator), torch.arange(16) % 4
    x += 2 * torch.randn(4, 3, 1, 1, generator=generator)[y]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return min(losses)


@pytest.mark.parametrize("pooling", ["max", "average", "stride"])
def test_the_deepest_one_trains_without_normalisation(pooling):
    assert fit(build(configuration="E", dropout=0.0, pooling=pooling, head="gap")) < 0.6


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"image_size": 28}, "28, 14, 7, 3, 1, 0"),
        ({"image_size": 31, "pooling": "average"}, "31, 15, 7, 3, 1, 0"),
        ({"image_size": 16, "pooling": "stride", "padding_mode": "reflect"}, "1 x 1"),
        ({"image_size": 16, "pooling": "stride", "norm": "instance"}, 1),
        ({"width": 2.0, "image_size": 224}, 200),
        ({"width": 0.01}, "0.05 to 2"),
        ({"configuration": "F"}, "A, A-LRN, B, C, D, E"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_numbers(options, fact):
    with refused(fact):
        VGGConfig(**options)


@pytest.mark.parametrize("pooling", ["stride", "blur", "aps_stride"])
def test_downsampling_that_rounds_up_takes_smaller_images(pooling):
    model = build(image_size=28, pooling=pooling).eval()
    assert model.config.sizes == (28, 14, 7, 4, 2, 1)
    assert model(torch.rand(1, 3, 28, 28)).shape == (1, 4)
