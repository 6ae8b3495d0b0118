"""Feature maps and filters as tiles."""

import re
from types import SimpleNamespace

import pytest
import torch

from ui.explain.drawers import MAPS_PER_PAGE, count_pages, find_legible, show_features


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
