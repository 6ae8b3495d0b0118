"""The multilayer perceptron against the formula."""

import pytest
import torch

from models.networks.mlp import MLP, MLPConfig
from tests.sentences import refused


def test_logits_follow_the_formula():
    model = MLP(MLPConfig(num_classes=4, image_size=5, hidden=(7, 6))).eval()
    x = torch.rand(2, 3, 5, 5)
    w1, b1, w2, b2, w3, b3 = model.parameters()
    hidden = torch.relu(torch.relu(x.flatten(1) @ w1.T + b1) @ w2.T + b2)
    torch.testing.assert_close(model(x), hidden @ w3.T + b3)
    assert model.config.num_parameters == 76 * 7 + 8 * 6 + 7 * 4


def test_names_of_parts():
    model = MLP(MLPConfig(image_size=4, hidden=(7,), norm="layer", dropout=0.5, activation="gelu"))
    assert [name for name, _ in model.hidden[0].named_children()] == ["linear", "norm", "gelu", "dropout"]
    assert model.hidden[0].linear.bias is None  # the normalisation has its own


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"hidden": ()}, "1 to 8"),
        ({"hidden": (20_000,)}, "1 to 16384"),
        ({"hidden": (16_384,), "image_size": 224}, 2466),
        ({"norm": "instance"}, "batch, none, layer, group"),
        ({"norm": "layer", "hidden": (8, 1)}, 1),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_numbers(options, fact):
    with refused(fact):
        MLPConfig(**options)
