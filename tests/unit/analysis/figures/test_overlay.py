"""Pictures of attributions: always drawable, on a scale that can be shared, true to small pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.figures.overlay import (
    COLORMAPS,
    SIGNS,
    Concentration,
    find_concentration,
    find_regions,
    measure_scale,
    render_map,
    render_overlay,
)
from tests.sentences import refused

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def images_and_maps(draw) -> tuple[torch.Tensor, torch.Tensor]:
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    pixels = draw(
        arrays(np.float32, (draw(st.sampled_from([1, 3])), height, width), elements=st.floats(0, 1, width=32))
    )
    values = draw(arrays(np.float32, (draw(st.integers(1, 3)), height, width), elements=FLOAT32))
    return torch.from_numpy(pixels), torch.from_numpy(values)


@given(
    pair=images_and_maps(),
    sign=st.sampled_from(list(SIGNS)),
    colormap=st.sampled_from(list(COLORMAPS)),
    opacity=st.floats(0, 1),
    share=st.floats(0, 1),
    size=st.none() | st.integers(1, 40),
)
@pytest.mark.filterwarnings("error")
def test_every_finite_map_can_be_drawn(pair, sign, colormap, opacity, share, size) -> None:
    pixels, values = pair
    height, width = pixels.shape[1:]

    overlay = render_overlay(
        pixels, values, sign=sign, colormap=colormap, opacity=opacity, contour_share=share, size=size
    )
    alone = render_map(values, sign=sign, colormap=colormap, size=size)

    factor = 1 if size is None else size / max(height, width)
    expected = (max(1, round(height * factor)), max(1, round(width * factor)), 3)
    for picture in (overlay, alone):
        assert picture.dtype == np.uint8
        assert picture.shape == expected


@pytest.mark.parametrize("sign", SIGNS)
def test_a_flat_map_gives_the_plain_picture(sign) -> None:
    pixels = torch.rand(3, 8, 8)

    picture = render_overlay(pixels, torch.zeros(3, 8, 8), sign=sign)

    np.testing.assert_array_equal(picture, (255 * pixels).round().byte().permute(1, 2, 0).numpy())


def test_opacity_blends_between_picture_and_colours() -> None:
    pixels, values = torch.rand(3, 16, 16), torch.randn(3, 16, 16)
    image = (255 * pixels).round().byte().permute(1, 2, 0).numpy()

    clear = render_overlay(pixels, values, opacity=0, contour_share=0)
    solid = render_overlay(pixels, values, opacity=1, contour_share=0)
    half = render_overlay(pixels, values, opacity=0.5, contour_share=0)

    np.testing.assert_array_equal(clear, image)
    np.testing.assert_array_equal(solid, render_map(values))
    np.testing.assert_allclose(half, (image.astype(float) + solid) / 2, atol=0.5)


def test_signed_maps_are_blue_white_and_red() -> None:
    values = torch.tensor([[[-2.0, 0.0, 2.0]]])

    left, middle, right = render_map(values, sign="signed")[0].astype(int)

    assert left[2] > left[0]
    assert middle.min() > 240
    assert right[0] > right[2]


@pytest.mark.parametrize(("sign", "brightest"), [("positive", 2), ("negative", 0)])
def test_one_sign_hides_the_other(sign, brightest) -> None:
    brightness = render_map(torch.tensor([[[-2.0, 0.0, 2.0]]]), sign=sign)[0].sum(-1)

    assert brightness.argmax() == brightest
    assert np.unique(brightness).size == 2


def test_channels_are_summed_before_the_sign_is_taken() -> None:
    values = torch.tensor([[[3.0, 1.0]], [[-3.0, 1.0]]])

    dark, bright = render_map(values)[0].astype(int).sum(-1)

    assert dark < bright


def test_a_shared_scale_makes_two_maps_comparable() -> None:
    weak, strong = torch.linspace(0, 1, 100).reshape(1, 10, 10), torch.linspace(0, 2, 100).reshape(1, 10, 10)
    scale = measure_scale(weak, strong)

    own = [render_map(values).astype(int).sum() for values in (weak, strong)]
    shared = [render_map(values, scale=scale).astype(int).sum() for values in (weak, strong)]

    assert scale == measure_scale(strong)
    assert own[0] == own[1]
    assert shared[0] < shared[1]


def test_the_scale_is_robust_to_one_extreme_pixel_and_survives_sparse_maps() -> None:
    dense = torch.ones(1, 50, 50)
    dense[0, 0, 0] = 1e6
    sparse = torch.zeros(1, 50, 50)
    sparse[0, 0, 0] = 3

    assert measure_scale(dense) == 1
    assert measure_scale(sparse) == 3
    assert measure_scale(torch.zeros(1, 5, 5)) == 0


def test_small_pictures_are_enlarged_as_squares() -> None:
    pixels = torch.rand(1, 28, 28)

    picture = render_overlay(pixels, torch.zeros(1, 28, 28), size=280)

    image = (255 * pixels).round().byte().permute(1, 2, 0).numpy().repeat(3, axis=2)
    np.testing.assert_array_equal(picture, image.repeat(10, axis=0).repeat(10, axis=1))


def test_the_contour_surrounds_the_strongest_pixels() -> None:
    pixels, values = torch.full((3, 100, 100), 0.5), torch.rand(1, 100, 100)
    values[0, 40:60, 40:60] += 10

    drawn = render_overlay(pixels, values, opacity=0, contour_share=0.04)
    rows, columns = np.nonzero((drawn == 255).all(-1))

    found = [rows.min(), rows.max(), columns.min(), columns.max()]
    np.testing.assert_allclose(found, [40, 59, 40, 59], atol=2)  # smoothing rounds the corners off
    assert (drawn[45:55, 45:55] == 128).all()


def test_the_contour_of_a_noisy_map_is_one_line_not_a_thousand_dots() -> None:
    distance = (torch.arange(100) - 50).abs()
    bump = torch.exp(-(distance[:, None] ** 2 + distance**2) / 400)

    drawn = render_overlay(torch.zeros(3, 100, 100), (bump * torch.randn(100, 100))[None], opacity=0)

    assert (drawn == 255).all(-1).mean() < 0.05


@pytest.mark.parametrize(
    "arguments",
    [
        {"values": torch.rand(1, 4, 5)},
        {"values": torch.full((1, 4, 4), torch.inf)},
        {"pixels": torch.rand(2, 4, 4)},
        {"colormap": "rainbow"},
        {"sign": "both"},
    ],
)
def test_wrong_arguments_are_explained(arguments) -> None:
    arguments = {"pixels": torch.rand(3, 4, 4), "values": torch.rand(1, 4, 4), **arguments}

    with refused():
        render_overlay(**arguments)


def test_where_a_map_is_strong():
    values = torch.zeros(2, 9, 9)
    assert find_concentration(values) is None
    values[0, 7, 1], values[1, 7, 1], values[0, 0, 0], values[0, 8, 8] = 2.0, 1.0, -5.0, 1.0
    assert find_concentration(values, "positive") == Concentration(1 / 81, 2, 0, 0.75)
    assert find_concentration(values, "negative") == Concentration(1 / 81, 0, 0, 1.0)
    assert find_concentration(values, "signed") == Concentration(1 / 81, 0, 0, pytest.approx(5 / 9))
    even = find_concentration(torch.full((1, 9, 9), 0.5))
    assert even == Concentration(pytest.approx(0.5, abs=1 / 81), 0, 0, pytest.approx(1 / 9))


@given(pair=images_and_maps(), sign=st.sampled_from(list(SIGNS)))
def test_half_of_any_map_is_somewhere(pair, sign):
    found = find_concentration(pair[1], sign)
    if found is not None:
        assert 0 < found.area <= 0.5 + 1 / pair[1][0].numel() and 1 / 9 - 1e-9 <= found.share <= 1 + 1e-9


def test_regions_are_the_parts_within_the_line():
    """Two squares: their boxes, shares of the map and centres; nothing where nothing is strong."""
    values = torch.zeros(3, 40, 50)
    values[0, 5:11, 8:14] = 2.0
    values[1, 25:31, 30:36] = 1.0
    values[2, 0, 0] = -9.0
    first, second = find_regions(values, "positive", share=72 / 2000)
    assert first.mass == pytest.approx(2 / 3) and second.mass == pytest.approx(1 / 3, abs=0.05)
    assert (first.row, first.column) == (pytest.approx(7.5), pytest.approx(10.5))
    for region, left, top in ((first, 8, 5), (second, 30, 25)):
        assert abs(region.left - left) <= 1 and abs(region.top - top) <= 1 and abs(region.width - 6) <= 2
    assert first.area + second.area == pytest.approx(72 / 2000, rel=0.1)
    assert find_regions(torch.ones(1, 9, 9)) == [] and find_regions(-values[:2], "positive") == []
