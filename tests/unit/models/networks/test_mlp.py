"""The multilayer perceptron against the formula."""

import pytest
import torch

from analysis.errors import UserError
from models.networks.mlp import MLP, MLPConfig


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
    ("options", "words"),
    [
        ({"hidden": ()}, "hidden must list 1 to 8 whole numbers, such as 256, 128"),
        ({"hidden": (20_000,)}, "from 1 to 16384, not 20000"),
        ({"hidden": (16_384,), "image_size": 224}, "would have 2466 million weights"),
        ({"norm": "instance"}, "batch, none, layer, group, not 'instance'"),
        ({"norm": "layer", "hidden": (8, 1)}, "a layer of 1 channels with 1 position each gives it 1"),
    ],
)
def test_what_cannot_work_is_refused_with_numbers(options, words):
    with pytest.raises(UserError, match=words):
        MLPConfig(**options)
