"""The linear classifier: one template per class."""

import torch

from models.networks.linear import LinearClassifier, LinearConfig
from tests.sentences import refused


def test_logits_are_products_with_templates():
    model = LinearClassifier(LinearConfig(num_classes=4, image_size=5))
    x = torch.rand(2, 3, 5, 5)
    templates = model.head.classifier.weight.view(4, 3, 5, 5)
    expected = torch.einsum("nchw,kchw->nk", x, templates) + model.head.classifier.bias
    torch.testing.assert_close(model(x), expected)
    assert LinearConfig(num_classes=10, image_size=32).num_parameters == 10 * (32 * 32 * 3 + 1) == 30_730


def test_too_many_weights_are_counted_before_they_exist():
    with refused("31457", "200"):
        LinearConfig(num_classes=10_000, image_size=1024)
