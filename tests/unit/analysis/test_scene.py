"""Pictures that are moved with invented and with real surroundings."""

import pytest
import torch

from analysis.errors import AnalysisError
from analysis.scene import Scene
from analysis.shift import shift_pixels


def scene_of(boundary: str) -> Scene:
    canvas = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Scene(canvas, 32, boundary, lambda pixels: pixels, fill=(0.1, 0.2, 0.3))


def test_shifted_pictures_with_real_surroundings():
    scene = scene_of("zero")
    assert torch.equal(scene.shift_real(3, -2), scene_of("crop").shift(3, -2).pixels)
    torch.testing.assert_close(scene.shift_real(0.5, -2), scene_of("crop").shift(0.5, -2).pixels)
    far = scene.shift_real(20, 0)
    assert torch.equal(far[..., 20:], scene.window[..., :-20])
    wrapped = scene_of("circular")
    assert torch.equal(wrapped.shift_real(9, 1), shift_pixels(wrapped.window, 9, 1, "circular").pixels)


@pytest.mark.parametrize("boundary", ["zero", "mean", "reflect", "replicate", "circular"])
def test_the_window_moves_by_the_rule_of_the_scene(boundary):
    scene = scene_of(boundary)
    assert torch.equal(scene.window, scene.canvas[:, 4:36, 4:36])
    expected = shift_pixels(scene.window, 3, -2, boundary, (0.1, 0.2, 0.3))
    assert torch.equal(scene.shift(3, -2).pixels, expected.pixels)
    assert torch.equal(scene.shift(3, -2).is_real, expected.is_real)


def test_real_surroundings_end_where_the_canvas_does():
    assert torch.equal(scene_of("crop").shift(4, 0).pixels, scene_of("crop").canvas[:, 4:36, :32])
    with pytest.raises(AnalysisError, match="too small to show its surroundings"):
        scene_of("crop").shift(5, 0)
