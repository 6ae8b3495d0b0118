"""Hand-made features against plain loops and scikit-image, and what a shift does to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.feature import hog

from analysis.errors import Cancelled, UserError
from analysis.features.kinds import KINDS, choose_cells, count_colors, extract_in_chunks


def draw(num=5, channels=3, side=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, channels, side, side), np.uint8)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_histograms_are_those_of_a_plain_loop(seed, channels):
    picture = draw(1, channels, 8, seed)[0]
    expected = np.zeros(64)
    for pixel in picture.reshape(channels, -1).T.tolist():
        if channels == 1:
            expected[pixel[0] // 4] += 1 / 64
        else:
            red, green, blue = (value // 64 for value in pixel)
            expected[16 * red + 4 * green + blue] += 1 / 64
    assert count_colors(picture[None])[0] == pytest.approx(expected)


@given(st.integers(-8, 8), st.integers(-8, 8))
def test_histograms_stay_when_pictures_wrap_around(dx, dy):
    pictures = draw()
    assert (count_colors(np.roll(pictures, (dy, dx), (2, 3))) == count_colors(pictures)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_those_of_scikit_image(channels):
    picture = draw(1, channels, 32)
    numbers = KINDS["hog"].learn(picture, 0, lambda *_: None)(picture)[0]
    expected = hog(picture[0].transpose(1, 2, 0), 9, (4, 4), (2, 2), "L2-Hys", channel_axis=2)
    assert numbers == pytest.approx(expected, abs=1e-6) and len(numbers) == 7 * 7 * 4 * 9


def test_pixels_are_all_pixels():
    pictures = draw()
    assert (KINDS["pixels"].learn(pictures, 0, lambda *_: None)(pictures) * 255).round().reshape(
        pictures.shape
    ).astype(np.uint8).tolist() == pictures.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_a_row_of_finite_numbers_for_each_picture(kind):
    pictures = draw()
    extract = KINDS[kind].learn(pictures, 0, lambda *_: None)
    numbers = extract_in_chunks(extract, pictures)
    assert numbers.shape[0] == 5 and numbers.dtype == np.float32 and np.isfinite(numbers).all()
    assert np.allclose(extract(pictures[3:]), numbers[3:], atol=1e-6)  # of each picture alone
    assert np.isfinite(extract(np.zeros_like(pictures))).all()


@pytest.mark.parametrize("kind", ["hog", "bow"])
def test_pictures_that_are_too_small_are_refused(kind):
    with pytest.raises(UserError, match="3"):
        KINDS[kind].learn(draw(side=3), 0, lambda *_: None)(draw(side=3))


@pytest.mark.parametrize(("side", "cell"), [(8, 2), (28, 3), (32, 4), (64, 8)])
def test_cells_follow_the_size_of_the_pictures(side, cell):
    assert choose_cells(side)["pixels_per_cell"] == (cell, cell)


def test_extraction_reports_and_can_be_cancelled():
    seen = []
    extract_in_chunks(count_colors, draw(600, side=4), lambda done, total: seen.append((done, total)))
    assert seen == [(0, 600), (256, 600), (512, 600), (600, 600)]

    def refuse(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        extract_in_chunks(count_colors, draw(), refuse)
