"""Forty years: costs are counted anew, and the models are there."""

import pytest
import torch

from analysis.network.summary import summarize
from lab.learning.history import MILESTONES
from models.networks.table import ARCHITECTURES, sketch_model
from models.registry import Registry
from tests.nightly import mostly_nightly

COUNTED = [milestone for milestone in MILESTONES if milestone.built_as]


def build(milestone) -> torch.nn.Module:
    if milestone.library == "here":
        return sketch_model(ARCHITECTURES[milestone.built_as][0](num_classes=10, in_channels=1))
    with torch.device("meta"):
        if milestone.library == "timm":
            import timm

            return timm.create_model(milestone.built_as, pretrained=False).eval()
        import torchvision

        extra = {"aux_logits": False, "init_weights": False} if milestone.built_as == "googlenet" else {}
        return torchvision.models.get_model(milestone.built_as, weights=None, **extra).eval()


ALWAYS = ("LeNet-5", "GoogLeNet", "ViT-L/16", "MobileNet")  # ConvNeXt takes 15 s, NASNet 2 s


@pytest.mark.parametrize("name", mostly_nightly([each.name for each in COUNTED], ALWAYS))
def test_costs_are_those_of_the_network(name):
    (milestone,) = (each for each in COUNTED if each.name == name)
    module = build(milestone)
    channels = 1 if milestone.library == "here" else 3
    summary = summarize(module, torch.empty(1, channels, milestone.size, milestone.size, device="meta"))
    assert sum(parameter.numel() for parameter in module.parameters()) == milestone.parameters
    assert (summary.num_params, summary.multiply_adds) == (milestone.parameters, milestone.multiply_adds)


def test_what_is_published_agrees_with_what_torchvision_says_of_its_weights():
    """Other training, other crops: within 3.5 points, and AlexNet's, VGG's and DenseNet's are torchvision's own."""
    import torchvision

    for milestone in MILESTONES:
        if milestone.model and milestone.top5 is not None:
            weights = torchvision.models.get_model_weights(milestone.model)
            (measured,) = next(iter(weights)).meta["_metrics"].values()
            assert abs(100 - measured["acc@5"] - milestone.top5) < 3.5, milestone.name


def test_models_are_in_the_list_and_years_in_order(tmp_path):
    registry = Registry(tmp_path)
    for milestone in MILESTONES:
        if milestone.model:
            assert registry.get(milestone.model).num_params == milestone.parameters
    years = [milestone.year for milestone in MILESTONES]
    assert years == sorted(years) and len(MILESTONES) == 14
