"""What the Explain tab says beside a map."""

from types import SimpleNamespace

import pytest
import torch

from analysis.attribution.methods import Attribution
from analysis.network.predict import Prediction
from lab.session import Explanation
from ui.explain.view import show_explanation

GAPS = {
    0.0125: "adds up to the difference in score but for 1.2 %.",
    0.0512: "adds up to the difference in score but for 5.1 %, where it stops after 512 steps.",
}


def show(tmp_path, sign: str = "signed", **facts) -> str:
    torch.manual_seed(0)
    found = Attribution("integrated_gradients", 3, "conv2", torch.rand(1, 8, 8), 0.1, **facts)
    result = Explanation(None, torch.rand(1, 8, 8), Prediction(3, "cat", 0.5), True, found)
    services = SimpleNamespace(new_file=lambda name: tmp_path / name)
    return show_explanation(services, result, sign, 0.5, "inferno")[0]


@pytest.mark.parametrize("sign", ["signed", "negative"])
@pytest.mark.parametrize("gap", GAPS)
def test_the_gap_stands_beside_the_map(gap, sign, tmp_path):
    assert GAPS[gap] in show(tmp_path, sign, completeness_gap=gap)


def test_cells_that_are_spread_evenly_are_named(tmp_path):
    assert "What the cells of conv2 look at is not known" in show(tmp_path, placement="even")
    plain = show(tmp_path, placement="centres")
    assert "cells of conv2" not in plain and "adds up" not in plain.split('class="note"')[0]
