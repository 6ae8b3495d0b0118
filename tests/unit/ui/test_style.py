"""The style sheet knows what the page draws."""

from pathlib import Path

import pytest

from analysis.figures.overlay import COLORMAPS

STYLE = (Path(__file__).parents[3] / "assets" / "style.css").read_text()


@pytest.mark.parametrize("name", ["diverging", *COLORMAPS])
def test_every_colour_map_has_a_colour_bar(name):
    assert f".scale .bar.{name} {{" in STYLE
