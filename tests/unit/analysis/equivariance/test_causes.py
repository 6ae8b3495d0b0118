"""Which cause keeps a layer from moving along: networks whose flaws are known, on pictures of three kinds."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.equivariance.causes import CAUSES, name_cause
from analysis.equivariance.meter import LayerMeter, count_notes, measure_layers
from analysis.network.layers import list_layers
from analysis.shift.circular import CircularPadding
from analysis.shift.scene import Scene
from models.data.images import open_image
from models.data.preprocessing import Preprocessing
from models.data.samples import get_sample

SIDE = 48


@dataclass(frozen=True)
class Case:
    """A network of convolutions ``(kernel, stride, padding)`` with ReLU behind each, and the causes it has.

    In a black frame, and without a bias, padding with zeros does nothing: there is black on both sides of the edge.
    """

    convolutions: tuple[tuple[int, int, int], ...]
    boundary: str
    causes: frozenset[str]
    is_framed: bool = False


CASES = {
    "only stride": Case(((3, 1, 0), (3, 2, 0)), "crop", frozenset({"stride"})),
    "only padding": Case(((3, 1, 1), (3, 1, 1)), "crop", frozenset({"padding"})),
    "only new content": Case(((5, 1, 2), (3, 1, 1)), "mean", frozenset({"new content"}), is_framed=True),
    "stride and padding": Case(((3, 1, 1), (3, 2, 1)), "crop", frozenset({"stride", "padding"})),
    "stride and new content": Case(
        ((9, 2, 4), (5, 1, 2)), "mean", frozenset({"stride", "new content"}), is_framed=True
    ),
    "padding and new content": Case(((5, 1, 2), (3, 1, 1)), "mean", frozenset({"padding", "new content"})),
}


def make_ramp(height: int, width: int) -> Tensor:
    """A smooth picture, brighter on the right."""
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([40 + 170 * x / width, 60 + 150 * x / width, 90 + 130 * x / width])
    return torch.tensor((ramp + 6 * np.sin(2 * np.pi * (x / 61 + y / 83))) / 255)


def make_garment(margin: int) -> Tensor:
    """28 pixels a side, with what a crop has to have around it."""
    prep = Preprocessing(crop_size=28, resize_size=28 + 2 * margin)
    return prep.to_canvas(open_image(get_sample("ankle_boot").path)).expand(3, -1, -1).double()


def make_photograph() -> Tensor:
    prep = Preprocessing(crop_size=SIDE, resize_size=SIDE + 12, mean=(0.0,) * 3)
    return prep.to_canvas(open_image(get_sample("chelsea").path)).double()


PICTURES = {
    "smooth": lambda boundary: (make_ramp(SIDE + 12, SIDE + 24), SIDE),
    "natural": lambda boundary: (make_photograph(), SIDE),
    "28 px": lambda boundary: (make_garment(2 if boundary == "crop" else 0), 28),
}


def make_scene(case: Case, picture: str) -> Scene:
    """The picture, and where it has to be the part of it within a black frame, in the middle of black."""
    canvas, size = PICTURES[picture](case.boundary)
    if case.is_framed:
        canvas = nn.functional.pad(canvas[:, 6 : size - 6, 6 : size - 6], [18] * 4)
    inputs = (lambda pixels: pixels) if case.is_framed else to_inputs
    return Scene(canvas, size, case.boundary, inputs, fill=(0.4, 0.4, 0.4))


def build(case: Case) -> nn.Sequential:
    parts, channels = [], 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for kernel, stride, padding in case.convolutions:
            parts += [nn.Conv2d(channels, 6, kernel, stride, padding, bias=not case.is_framed), nn.ReLU()]
            channels = 6
    return nn.Sequential(*parts).double().eval()


def to_inputs(pixels: Tensor) -> Tensor:
    return pixels - 0.5


def measure(net: nn.Module, scene: Scene, dx: float, dy: float, **options) -> dict[str, LayerMeter]:
    layers = list_layers(net, scene.to_inputs(scene.window[None]))
    return {meter.name: meter for meter in measure_layers(net, [scene], dx, dy, layers, **options)[0]}


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("title", CASES)
def test_known_causes_are_named(title, picture):
    case = CASES[title]
    *_, deepest = measure(build(case), make_scene(case, picture), 1, 0).values()
    sizes = {cause: getattr(deepest, name) for cause, name in CAUSES.items()}
    assert deepest.cause in case.causes
    for cause, size in sizes.items():
        assert (size > 1e-4) == (cause in case.causes) and (cause in case.causes or size < 1e-13)
    if len(case.causes) == 1:
        assert sizes[deepest.cause] == pytest.approx(deepest.error, rel=0.15)
    is_explained = "Causes act against" in deepest.note or "more error than the others" in deepest.note
    assert max(sizes.values()) <= deepest.error * 1.001 or is_explained


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("title", CASES)
def test_the_causes_are_the_written_steps(title, picture):
    """Against unpadded convolutions over numpy's mirrored picture, cell by cell where windows are concerned."""
    case = CASES[title]
    scene, net = make_scene(case, picture), build(case)
    canvas, size, to_inputs = scene.canvas, scene.size, scene.to_inputs
    found = measure(net, scene, 1, 0)[str(2 * len(case.convolutions) - 1)]

    low = high = 0  # the window of a cell goes from q * stride + low to q * stride + high
    stride = 1
    for kernel, step, padding in case.convolutions:
        low, high, stride = low - padding * stride, high + (kernel - 1 - padding) * stride, stride * step
    bare = list(build(case))
    for part in bare:
        part.padding = (0, 0)
    room = 16
    top, left = (round((side - size) / 2) for side in canvas.shape[1:])
    around = np.pad(canvas.numpy(), ((0, 0), (room, room), (room, room)), mode="reflect")
    with torch.no_grad():
        z = net(to_inputs(scene.window[None]))[0]
    height, width = z.shape[1:]

    def look(column: int) -> tuple[Tensor, Tensor]:
        """The padded map of a crop of the surroundings, and the map without padding."""
        rows, columns = top + room, left + room - column
        crop = torch.tensor(around[:, rows : rows + size, columns : columns + size])
        reach = (height - 1) * stride + high + 1
        larger = torch.tensor(around[:, rows + low : rows + reach, columns + low : columns + reach])
        with torch.no_grad():
            return net(to_inputs(crop)[None])[0], nn.Sequential(*bare)(to_inputs(larger)[None])[0]

    def move(maps: Tensor) -> Tensor:
        """By one pixel: a copy, or Lanczos-3 where that is half a cell."""
        if stride == 1:
            return torch.cat([maps[..., :1] * 0, maps[..., :-1]], -1)
        taps = np.arange(-3, 3)
        weights = np.sinc(taps + 0.5) * np.sinc((taps + 0.5) / 3)
        moved = torch.zeros_like(maps)
        for column in range(3, width - 2):
            mixed = maps[..., column - 3 : column + 3] * torch.tensor(weights / weights.sum())
            moved[..., column] = mixed.sum(-1)
        return moved

    cells = slice(1, None) if stride == 1 else slice(3, width - 2)
    (padded, bare_before), (padded_after, bare_after) = look(0), look(1)
    assert torch.equal(padded, z)
    with torch.no_grad():
        shown = net(to_inputs(scene.shift(1, 0).pixels)[None])[0]
    steps = {
        "stride": bare_after - move(bare_before),
        "padding": (padded_after - bare_after) - move(padded - bare_before),
        "new content": shown - padded_after,
    }
    scale = (move(z) - z.mean((1, 2), keepdim=True))[..., cells]
    whole = (shown - move(z))[..., cells]
    torch.testing.assert_close(sum(steps.values())[..., cells], whole, rtol=0, atol=1e-13)
    assert found.error == pytest.approx(float(whole.norm() / scale.norm()))
    for cause in ("padding", "new content"):
        expected = float(steps[cause][..., cells].norm() / scale.norm())
        assert getattr(found, CAUSES[cause]) == pytest.approx(expected, abs=1e-12)

    seen = torch.zeros(height, width, dtype=torch.bool)
    for row, column in itertools.product(range(height), range(width)):
        first, last = (column - 1, column - 1) if stride == 1 else (column - 3, column + 2)
        inside = -top <= row * stride + low and row * stride + high < canvas.shape[1] - top
        now = 1 - left <= column * stride + low and column * stride + high < canvas.shape[2] - left + 1
        before = -left <= first * stride + low and last * stride + high < canvas.shape[2] - left
        seen[row, column] = inside and now and before and first >= 0 and last < width
    stride_error = (steps["stride"] * seen).norm() / ((move(z) - z.mean((1, 2), keepdim=True)) * seen).norm()
    assert found.stride_error == pytest.approx(float(stride_error), abs=1e-12)
    assert ("mirror image" in found.note) == (not seen[:, cells].all())


@pytest.mark.parametrize("picture", PICTURES)
def test_two_padded_convolutions_are_no_matter_of_stride(picture):
    """A linear network on a ramp: sampling does nothing, and a seam must not make it look otherwise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, 2, 1)).double().eval()
    meter = measure(net, Scene(make_ramp(256, 341), 224, "crop", to_inputs), 1, 0)["1"]
    assert meter.cause == "padding"
    assert meter.padding_error == pytest.approx(meter.error, rel=1e-3)
    assert meter.stride_error < 0.01 * meter.error
    canvas, size = PICTURES[picture]("zero")
    with CircularPadding():  # what padding reads on the other side is not the picture's surroundings either
        twin = measure(net, Scene(canvas, size, "replicate", to_inputs), 2, 0)["1"]
    assert twin.padding_error > 0.01
    assert twin.stride_error < 1e-13


def test_surroundings_are_taken_from_the_picture_as_far_as_it_goes():
    """A larger picture knows what is beyond the window; a smaller one has its mirror image, and says so."""
    case = CASES["stride and padding"]
    large = torch.rand(3, SIDE + 20, SIDE + 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    known = measure(build(case), Scene(large, SIDE, "replicate", to_inputs), 1, 0)["3"]
    edge = large[:, 10:-10, 10:-10]
    guessed = measure(build(case), Scene(edge, SIDE, "replicate", to_inputs), 1, 0)["3"]
    assert ("mirror image" in known.note, "mirror image" in guessed.note) == (False, True)
    assert known.error == guessed.error
    assert 0 < abs(known.padding_error - guessed.padding_error) < 0.2 * known.padding_error
    assert guessed.stride_error == pytest.approx(guessed.error_valid)


# What is not measured


def test_layers_that_see_beyond_the_picture_have_no_measured_stride_or_padding():
    net = nn.Sequential(*[nn.Conv2d(3, 3, 9, padding=4) for _ in range(4)]).double().eval()
    canvas = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    meters = measure(net, Scene(canvas, 32, "zero", to_inputs), 1, 0)
    assert meters["2"].padding_error > 0.01
    deepest = meters["3"]
    assert (deepest.stride_error, deepest.padding_error, deepest.cause) == (None, None, None)
    assert deepest.error > 0.01 and deepest.new_content_error > 0
    assert "strides and padding do is not measured" in deepest.note
    assert "the picture has no edge" in deepest.note
    wrapped = measure(net, Scene(canvas, 32, "circular", to_inputs), 1, 0)["3"]
    assert wrapped.padding_error == pytest.approx(wrapped.error)
    assert (wrapped.cause, wrapped.stride_error < 1e-14) == ("padding", True)


# Maps that do not wrap around


def test_maps_that_do_not_tile_the_picture_are_compared_where_they_have_a_source():
    """An unpadded stride under a picture that wraps around moves exactly, by whole cells, as it does in a crop."""
    net = build(Case(((3, 2, 0), (3, 1, 0)), "circular", frozenset()))
    canvas = make_garment(4)
    wrapped, cropped = (measure(net, Scene(canvas, 28, name, to_inputs), 4, 0) for name in ("circular", "crop"))
    for name in ("0", "1", "2", "3"):
        for meter in (wrapped[name], cropped[name]):
            assert max(meter.error, meter.stride_error, meter.padding_error, meter.new_content_error) < 1e-13
            assert meter.cause == "none"
        assert "do not wrap around" in wrapped[name].note
    out_of_phase = measure(net, Scene(canvas, 28, "circular", to_inputs), 1, 0)["3"]
    assert (out_of_phase.cause, out_of_phase.padding_error < 1e-13) == ("stride", True)
    assert out_of_phase.stride_error == pytest.approx(out_of_phase.error)


def test_padding_behind_maps_that_do_not_tile_is_still_found():
    net = build(Case(((3, 2, 0), (3, 1, 1)), "circular", frozenset()))
    meter = measure(net, Scene(make_garment(0), 28, "circular", to_inputs), 4, 0)["3"]
    assert (meter.cause, meter.stride_error < 1e-13) == ("padding", True)
    assert meter.padding_error == pytest.approx(meter.error)


def test_a_layer_that_tiles_behind_one_that_does_not_has_no_twin_to_believe():
    """Three pixels are lost and come back as padding: the twin would wrap a map around that is cut off."""
    net = build(Case(((4, 1, 0), (4, 1, 3)), "circular", frozenset()))
    meter = measure(net, Scene(make_garment(0), 28, "circular", to_inputs), 3, 0)["3"]
    assert (meter.num_cells, meter.cause) == (28 * 28, "padding")
    assert meter.stride_error < 1e-13


# Naming, and notes


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({}, "stride"),
        ({"stride_error": 0.0}, "padding"),
        ({"new_content_error": 0.3}, "new content"),
        ({"error": 5e-5}, "none"),
        ({"error": None}, None),
        ({"stride_error": None}, None),
        ({"padding_error": None, "error": 5e-5}, "none"),
        ({"stride_error": 0.0, "padding_error": 0.0, "new_content_error": 5e-5}, "none"),
    ],
)
def test_the_largest_cause_is_named(changes, cause):
    numbers = {"error": 0.25, "stride_error": 0.24, "padding_error": 0.2, "new_content_error": 0.05}
    assert name_cause(numbers | changes) == cause


def test_causes_that_act_against_each_other_are_said_to():
    """Black pixels move in where black padding was: nothing changes, though each alone would."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1).double()).eval()
    canvas = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    meter = measure(net, Scene(canvas, 32, "zero", lambda pixels: pixels), 1, 0)["0"]
    assert meter.padding_error > 1.001 * meter.error
    assert meter.note == "Causes act against each other: one alone does more than all together."


def test_every_sentence_of_the_notes_is_listed_once():
    notes = ("It is so. It is not.", "", "It is not. A third: so.")
    meters = [LayerMeter("a", 1, 3, 9, note=note) for note in notes]
    assert count_notes(meters) == [
        "It is so. (1 of 3 layers)",
        "It is not. (2 of 3 layers)",
        "A third: so. (1 of 3 layers)",
    ]
