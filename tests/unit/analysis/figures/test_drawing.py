"""Small pictures: enlarged pixel by pixel, hatched where invented and nowhere else, filters on one scale."""

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.figures.drawing import HATCH_PERIOD, draw_filters, draw_pixels, hatch


def pixels(channels: int = 3, height: int = 4, width: int = 5) -> torch.Tensor:
    levels = torch.randint(0, 256, (channels, height, width), generator=torch.Generator().manual_seed(0))
    return levels / 255


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "factor"), [(448, 90), (50, 10), (12, 2), (5, 1), (1, 1)])
def test_enlargement_is_pillows_nearest_neighbour(channels, size, factor):
    picture = draw_pixels(pixels(channels), size=size)
    original = Image.fromarray((pixels(channels).expand(3, -1, -1) * 255).round().byte().permute(1, 2, 0).numpy())
    expected = original.resize((5 * factor, 4 * factor), Image.Resampling.NEAREST)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, np.asarray(expected))


def test_small_pictures_are_enlarged_and_large_ones_kept():
    assert draw_pixels(torch.zeros(3, 224, 224)).shape == (224, 224, 3)
    assert draw_pixels(torch.zeros(1, 28, 28)).shape == (224, 224, 3)


def test_values_out_of_range_are_clipped():
    picture = draw_pixels(torch.tensor([[[-0.5, 0.0, 0.5, 1.0, 1.5]]], requires_grad=True), size=5)
    assert picture[0, :, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("level", [0.0, 0.2, 0.5, 1.0])
def test_hatching_covers_invented_pixels_only(level):
    canvas = torch.full((3, 8, 8), level)
    is_real = torch.ones(8, 8, dtype=torch.bool)
    is_real[:, :2] = False
    is_real[6, 5] = False
    plain = draw_pixels(canvas, size=96)
    hatched = hatch(plain, ~is_real)
    changed = (plain != hatched).any(-1)
    cells = changed.reshape(8, 12, 8, 12).transpose(0, 2, 1, 3).reshape(8, 8, -1)
    np.testing.assert_array_equal(cells.any(-1), ~is_real.numpy())
    # One line in HATCH_PERIOD, clearly visible on any background.
    np.testing.assert_allclose(cells.mean(-1)[~is_real.numpy()], 1 / HATCH_PERIOD, atol=1e-9)
    assert np.abs(plain[changed].astype(int) - hatched[changed]).min() > 50


def test_hatching_runs_diagonally():
    lines = hatch(np.zeros((30, 30, 3), np.uint8), torch.ones(5, 5, dtype=torch.bool)).any(-1)
    rows, columns = np.nonzero(lines)
    assert set((rows + columns) % HATCH_PERIOD) == {0}
    assert lines.sum() == 30 * 30 / HATCH_PERIOD


def test_hatching_fits_cells_that_do_not_divide_the_picture():
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[0, 2] = True
    changed = hatch(np.zeros((40, 40, 3), np.uint8), mask).any(-1)
    rows, columns = np.nonzero(changed)
    assert rows.max() * 3 // 40 == 0
    assert columns.min() * 3 // 40 == 2
    assert changed.sum() > 10


def test_a_real_picture_stays_as_it_is():
    plain = draw_pixels(pixels())
    np.testing.assert_array_equal(hatch(plain, torch.zeros(4, 5, dtype=torch.bool)), plain)


def test_hatching_leaves_its_input_alone():
    picture = np.zeros((12, 12, 3), np.uint8)
    assert hatch(picture, torch.ones(2, 2, dtype=torch.bool)).any()
    assert not picture.any()


def test_filters_share_one_scale_with_grey_for_zero():
    filters = torch.zeros(3, 3, 2, 2)
    filters[0, 0, 0, 0], filters[1, 1, 1, 1], filters[2, 2, 0, 1] = 2.0, -2.0, 1.0
    first, second, third = draw_filters(filters)
    assert first[0, 0].tolist() == [255, 128, 128]
    assert second[1, 1].tolist() == [128, 0, 128]
    assert third[0, 1].tolist() == [128, 128, 191]
    assert {int(level) for rows in (first[1], second[0], third[1]) for level in rows.flat} == {128}


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_filters_without_colours_are_drawn_as_their_grey_mean(channels):
    filters = torch.randn(5, channels, 3, 3, generator=torch.Generator().manual_seed(0))
    drawn = np.stack(draw_filters(filters)).astype(int)
    mean = filters.mean(1).double().numpy()
    assert drawn.shape == (5, 3, 3, 3)
    assert (drawn[..., :1] == drawn).all()
    np.testing.assert_allclose(drawn[..., 0], (mean / np.abs(mean).max() + 1) * 127.5, atol=0.51)


def test_filters_that_are_all_zero_are_grey():
    assert {int(level) for picture in draw_filters(torch.zeros(2, 3, 3, 3)) for level in picture.flat} == {128}
