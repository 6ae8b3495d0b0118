"""Backbones: every classifier of torchvision loses exactly its classifier, and keeps what it computes before it."""

import pytest
import torch
from torch import nn

from models.data.samples import get_sample
from models.registry import Registry
from models.zoo.backbones import (
    BACKBONES,
    BUNDLED_BACKBONES,
    build_backbone,
    find_backbone,
    list_backbones,
    load_pretrained,
    measure_backbone,
)
from tests.nightly import FAMILIES, mostly_nightly
from tests.sentences import refused

NOT_IN_THE_BACKBONE = {"inception_v3": 3_326_696, "maxvit_t": -1000}
"""Parameters of the auxiliary classifier; MaxViT's classifier has no bias."""


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().eval()


def test_every_classifier_of_torchvision_is_a_backbone():
    from torchvision import models as zoo

    assert set(zoo.list_models(module=zoo)) | set(BUNDLED_BACKBONES) == set(list_backbones())
    assert len(list_backbones()) > 75
    assert list(BACKBONES) == list(list_backbones()) and all(BACKBONES.values())


@pytest.mark.parametrize("name", mostly_nightly(list_backbones(), {*FAMILIES, *BUNDLED_BACKBONES}))
def test_features_are_what_the_classifier_took(name):
    spec = find_backbone(name)
    state = torch.get_rng_state()
    size = measure_backbone(name, spec.preprocessing.crop_size)
    assert torch.equal(state, torch.get_rng_state())
    # The published number counts the classifier: a weight for each feature and a bias for each of 1000 classes.
    published = spec.num_params - NOT_IN_THE_BACKBONE.get(name, 0)
    assert published - size.num_parameters == 1000 * (size.num_features + 1)


@pytest.mark.parametrize("name", ["swin_t", "swin_v2_t", "maxvit_t"])
def test_tables_of_indices_are_computed_and_not_read(name):
    with torch.device("meta"):
        backbone = build_backbone(name)
    saved = backbone.state_dict().keys()
    assert not any("relative_position_index" in key for key in saved)
    tables = [buffer for key, buffer in backbone.named_buffers() if key not in saved]
    assert tables and not any(table.is_meta for table in tables)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "regnet_x_400mf"])
def test_features_and_the_old_classifier_give_the_old_logits(name):
    from torchvision.models import get_model

    network = seeded(lambda: get_model(name, weights=None))
    backbone = seeded(lambda: build_backbone(name))
    backbone.load_state_dict({key: network.state_dict()[key] for key in backbone.state_dict()})
    classifier = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(classifier(backbone(x)), network(x), rtol=1e-5, atol=1e-6)


def test_squeezenets_features_are_the_mean_of_its_last_map():
    backbone = seeded(lambda: build_backbone("squeezenet1_1"))
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), backbone.features(x).mean((2, 3)))


def test_the_dropout_before_the_classifier_goes_with_it():
    with torch.device("meta"):
        names = ["mobilenet_v2", "googlenet", "squeezenet1_0", "efficientnet_b0"]
        assert not any(isinstance(module, nn.Dropout) for name in names for module in build_backbone(name).modules())
        # Those inside stay: AlexNet has one before its first and one before its second layer of features.
        assert sum(isinstance(module, nn.Dropout) for module in build_backbone("alexnet").modules()) == 2


def test_the_bundled_weights_give_the_bundled_models_logits():
    spec = Registry("nowhere").get("efficientnet_lite0")
    whole = spec.build()
    backbone = seeded(lambda: build_backbone("efficientnet_lite0"))
    state = torch.get_rng_state()
    load_pretrained(backbone, "efficientnet_lite0")
    assert torch.equal(state, torch.get_rng_state())
    from PIL import Image

    pixels = spec.preprocessing.to_pixels(Image.open(get_sample("chelsea").path).convert("RGB"))
    x = spec.preprocessing.normalize(pixels)[None, :, :128, :128]
    with torch.no_grad():
        assert torch.equal(whole.classifier(backbone(x)), whole(x))


def test_published_weights_come_from_torchs_cache(torch_home):
    """Random numbers in the file's place: they must arrive under the right names, without the classifier."""
    from torchvision.models import get_model

    spec = find_backbone("squeezenet1_1")
    published = seeded(lambda: get_model("squeezenet1_1", weights=None)).state_dict()
    torch_home.mkdir(parents=True)
    torch.save(published, spec.weights.path)
    backbone = build_backbone("squeezenet1_1")
    load_pretrained(backbone, "squeezenet1_1")
    loaded = backbone.state_dict()
    assert published.keys() - loaded.keys() == {"classifier.1.weight", "classifier.1.bias"}
    assert all(torch.equal(loaded[key], published[key]) for key in loaded)


def test_weights_that_are_not_here_are_named(torch_home, monkeypatch):
    import urllib.error
    import urllib.request

    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no connection")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with torch.device("meta"):
        backbone = build_backbone("resnet18")
    with refused("resnet18-f37072fd.pth", "no connection", torch_home, "efficientnet_lite0"):
        load_pretrained(backbone, "resnet18")


def test_other_weights_may_be_named():
    assert measure_backbone("vit_b_16:IMAGENET1K_SWAG_E2E_V1", 384).num_features == 768
    with refused("224 x 224", "384 x 384"):
        measure_backbone("vit_b_16:IMAGENET1K_SWAG_E2E_V1", 224)
    with refused("NONE"):
        find_backbone("resnet18:NONE")


@pytest.mark.parametrize(
    ("name", "size", "works"),
    [
        ("alexnet", 32, False),
        ("alexnet", 64, True),
        ("inception_v3", 64, False),
        ("inception_v3", 75, True),
        ("maxvit_t", 128, False),
        ("vgg11", 32, True),
        ("efficientnet_lite0", 32, True),
    ],
)
def test_sizes_are_refused_where_the_network_does_not_allow_them(name, size, works):
    if works:
        assert measure_backbone(name, size).num_features > 100
    else:
        with refused(name, f"{size} x {size}"):
            measure_backbone(name, size)


@pytest.mark.parametrize("name", ["resnet1000", "fashion_cnn", "efficientnet_lite0:V1", "", None, ["resnet18"], 3])
def test_other_names_are_refused(name):
    with refused():
        find_backbone(name)
