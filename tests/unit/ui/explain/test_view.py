"""What the Explain tab says beside a map."""

import re
from types import SimpleNamespace

import pytest
import torch

from analysis.attribution.methods import Attribution
from analysis.network.predict import Prediction
from lab.session import Explanation
from ui.explain.view import MAPS_PER_PAGE, count_pages, find_legible, show_explanation, show_features

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


def list_tiles(html: str) -> list[int]:
    return [int(number) for number in re.findall(r"<span>(\d+)</span></button>", html)]


def test_the_strongest_channels_come_first_and_empty_ones_last():
    maps = torch.zeros(50, 2, 2)
    maps[7], maps[31], maps[4, 0, 0] = 1.0, -3.0, 2.0
    first, last = show_features(maps, "conv", 1), show_features(maps, "conv", 2)
    assert list_tiles(first)[:3] == [31, 7, 4] and len(list_tiles(first)) == MAPS_PER_PAGE
    assert sorted(list_tiles(first) + list_tiles(last)) == list(range(50))
    assert "conv: 50 x 2 x 2. Channels 49 to 50 by strength" in last and "47 are zero everywhere" in last


@pytest.mark.parametrize("page", [-3, 0, 99])
def test_pages_that_there_are_not_are_the_first_or_the_last(page):
    maps = torch.arange(200.0).view(50, 2, 2)
    assert list_tiles(show_features(maps, "conv", page)) == list_tiles(
        show_features(maps, "conv", 2 if page > 0 else 1)
    )
    assert [count_pages(number) for number in (1, 48, 49, 1280)] == [1, 1, 2, 27]


def test_the_first_layer_shown_is_the_deepest_with_maps_that_can_be_read():
    def name(*sides: int) -> str | None:
        return find_legible(
            [SimpleNamespace(name=f"{i}", output_shape=(3, n, n), is_feature_map=n > 1) for i, n in enumerate(sides)]
        )

    assert [name(56, 14, 7, 1), name(7, 4), name(1), name()] == ["1", "0", None, None]
