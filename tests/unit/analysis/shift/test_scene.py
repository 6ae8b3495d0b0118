"""Pictures that are moved with invented and with real surroundings."""

import numpy as np
import pytest
import torch
from torch import nn

from analysis.shift.move import Extended, shift_pixels
from analysis.shift.scene import EVERYWHERE, Scene
from tests.sentences import refused


def scene_of(boundary: str) -> Scene:
    canvas = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Scene(canvas, 32, boundary, lambda pixels: pixels, fill=(0.1, 0.2, 0.3))


def test_shifted_pictures_with_real_surroundings():
    scene = scene_of("zero")
    assert torch.equal(scene.shift_real(3, -2), scene_of("crop").shift(3, -2).pixels)
    torch.testing.assert_close(scene.shift_real(0.5, -2), scene_of("crop").shift(0.5, -2).pixels)
    far = scene.shift_real(20, 0)
    assert torch.equal(far[..., 20:], scene.window[..., :-20])
    # Four columns of the canvas enter; beyond them its mirror image, which begins without an edge.
    mirrored = np.pad(scene.canvas.numpy(), ((0, 0), (0, 0), (16, 0)), mode="reflect")
    assert torch.equal(far, torch.tensor(mirrored[:, 4:36, :32]))
    wrapped = scene_of("circular")
    assert torch.equal(wrapped.shift_real(9, 1), shift_pixels(wrapped.window, 9, 1, "circular").pixels)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (41, 32), (33, 57), (32, 32)])
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, -2), (0.5, 0), (-0.25, 7.75), (40, 1)])
def test_a_margin_shows_more_of_the_same_and_its_real_part_is_known(height, width, dx, dy):
    canvas = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scene, margin = Scene(canvas, 32, "zero", lambda pixels: pixels), 60
    more = scene.shift_real(dx, dy, margin)
    assert more.shape == (3, 32 + 2 * margin, 32 + 2 * margin)
    torch.testing.assert_close(more[:, margin:-margin, margin:-margin], scene.shift_real(dx, dy), rtol=0, atol=1e-12)
    # The same place, white in the middle of black: white stays where nothing else is mixed in.
    room = 2 * margin
    white = nn.functional.pad(torch.ones_like(canvas), [room] * 4)
    top, left = room + round((height - 32) / 2), room + round((width - 32) / 2)
    placed = Extended(white, white[0] > 0, top - margin, left - margin, *more.shape[1:])
    is_own = (placed.shift(dx, dy).pixels[0] - 1).abs() < 1e-12
    (top, bottom), (left, right) = scene.find_real(dx, dy)
    assert is_own[margin + top : margin + bottom + 1, margin + left : margin + right + 1].all()
    assert is_own.any(dim=1).sum() == bottom - top + 1
    assert is_own.any(dim=0).sum() == right - left + 1


def test_a_picture_that_wraps_around_goes_on_with_itself():
    scene = scene_of("circular")
    for dx, dy in ((0, 0), (3, -2), (0.5, 0)):
        moved = scene.shift(dx, dy).pixels
        expected = np.pad(moved.numpy(), ((0, 0), (9, 9), (9, 9)), mode="wrap")
        assert torch.equal(scene.shift_real(dx, dy, 9), torch.tensor(expected))
    assert scene.find_real(3, 1) == EVERYWHERE


@pytest.mark.parametrize("boundary", ["zero", "mean", "reflect", "replicate", "circular"])
def test_the_window_moves_by_the_rule_of_the_scene(boundary):
    scene = scene_of(boundary)
    assert torch.equal(scene.window, scene.canvas[:, 4:36, 4:36])
    expected = shift_pixels(scene.window, 3, -2, boundary, (0.1, 0.2, 0.3))
    assert torch.equal(scene.shift(3, -2).pixels, expected.pixels)
    assert torch.equal(scene.shift(3, -2).is_real, expected.is_real)


def test_real_surroundings_end_where_the_canvas_does():
    assert torch.equal(scene_of("crop").shift(4, 0).pixels, scene_of("crop").canvas[:, 4:36, :32])
    with refused():
        scene_of("crop").shift(5, 0)
