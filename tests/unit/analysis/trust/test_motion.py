"""Maps that move, stay, or have nothing to do with the picture."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from analysis.attribution.methods import attribute
from analysis.shift.move import shift_pixels
from analysis.trust.motion import Motion, measure_motion


class Equivariant(nn.Module):
    """Circular convolutions without strides, and a mean: its gradient moves along exactly."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(
                nn.Conv2d(1, 6, 3, padding=1, padding_mode="circular"),
                nn.ReLU(),
                nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular"),
                nn.ReLU(),
            )
            self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


PICTURE = torch.randn((1, 1, 24, 24), generator=torch.Generator().manual_seed(1))
NET = Equivariant()


def move(method: str, dx: int, dy: int, boundary: str) -> Motion:
    shifted = shift_pixels(PICTURE[0], dx, dy, boundary)
    one, other = (attribute(NET, inputs, 0, method).values for inputs in (PICTURE, shifted.pixels[None]))
    return measure_motion(one, other, dx, dy, boundary, shifted.is_real)


@given(st.integers(-6, 6), st.integers(-6, 6), st.sampled_from(["saliency", "input_x_gradient"]))
@settings(max_examples=6)
def test_an_equivariant_network_has_maps_that_move_along(dx, dy, method):
    found = move(method, dx, dy, "circular")
    assert found.correlation == pytest.approx(1, abs=1e-5)
    assert found.best == (dx, dy) and found.agrees
    if (dx, dy) != (0, 0):
        assert found.still < 0.9


def test_where_a_border_is_invented_the_map_moves_nearly_along():
    for boundary in ("zero", "reflect", "replicate"):
        found = move("saliency", 3, -2, boundary)
        assert 0.8 < found.correlation < 1 and found.best == (3, -2)


def test_a_map_of_noise_has_nothing_to_do_with_the_shifted_one():
    one, other = (torch.randn((3, 64, 64), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    found = measure_motion(one, other, 4, 0, "circular", torch.ones(64, 64, dtype=torch.bool))
    assert abs(found.correlation) < 0.05 and not found.agrees


def test_a_map_that_stays_is_told_from_one_that_moves():
    values = torch.randn((1, 40, 40), generator=torch.Generator().manual_seed(0))
    found = measure_motion(values, values, 5, 0, "zero", torch.ones(40, 40, dtype=torch.bool))
    assert found.still == pytest.approx(1) and abs(found.correlation) < 0.1
    assert found.best == (0, 0) and not found.agrees


def test_only_what_both_have_counts():
    values = torch.randn((1, 30, 30), generator=torch.Generator().manual_seed(0))
    moved = shift_pixels(values, 4, 0, "zero")
    broken = torch.where(moved.is_real, moved.pixels, 1e6)
    everywhere = torch.ones(30, 30, dtype=torch.bool)
    found = measure_motion(values, broken, 4, 0, "reflect", moved.is_real)
    assert found.correlation == pytest.approx(1) and found.best == (4, 0)
    # With real surroundings every pixel of the picture counts, but the map has no more than its own.
    assert measure_motion(values, broken, 4, 0, "crop", everywhere).correlation == pytest.approx(1)


def test_a_flat_map_moves_nowhere():
    flat = torch.zeros(1, 20, 20)
    found = measure_motion(flat, flat, 1, 0, "zero", torch.ones(20, 20, dtype=torch.bool))
    assert (found.correlation, found.still, found.best, found.agrees) == (None, None, None, None)
