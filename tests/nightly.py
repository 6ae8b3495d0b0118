"""Which of many like cases every run of the tests takes; ``make test-all`` takes the others as well."""

from collections.abc import Collection, Iterable

import pytest

FAMILIES = {
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vit_b_16",
}
"""One of every family of torchvision's classifiers."""


def mostly_nightly(cases: Iterable[str], always: Collection[str]) -> list:
    """The cases, with the mark "nightly" on those that are not in ``always``."""
    return [case if case in always else pytest.param(case, marks=pytest.mark.nightly) for case in cases]
