"""Shift maps, layer meters and self-checks: what the shift lab does beyond a single shift."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

from PIL import Image
from torch import Tensor, nn

from analysis.equivariance.meter import measure_down_the_network, measure_layers
from analysis.equivariance.own_error import OwnErrors
from analysis.errors import Progress, UserError, no_progress
from analysis.network.layers import HANDS_ON, Layer
from analysis.self_check.identities import IdentityResult, check_identities
from analysis.shift.circular import CircularPadding
from analysis.shift.move import Extended, check_distance, extend, extend_crop
from analysis.shift.scene import Scene
from analysis.shift.shift_map import map_shifts, measure_agreement, to_shift_map
from lab.facts import load_references
from lab.results import MeterReading, PictureMap
from lab.session import Lab
from models.cache import LoadedModel, as_it_is

MAX_SHIFT = 64
"""Pixels; a map has ``(2 * MAX_SHIFT + 1) ** 2`` cells at most."""


def open_scene(
    lab: Lab, image: Image.Image, model: str, boundary: str = "zero", *, loading: Progress = no_progress
) -> Extended:
    """A picture at the size a network sees it, with the surroundings that a border rule gives it; values in [0, 1].

    Args:
        lab: Where the model is.
        image: The picture.
        model: A model name.
        boundary: A key of ``analysis.shift.move.BOUNDARIES``.
        loading: Counts the bytes of weights that have to be downloaded.
    """
    with lab.use(model, loading) as (loaded, _):
        prep = loaded.spec.preprocessing
    canvas = prep.to_canvas(image)
    if boundary == "crop":
        return extend_crop(canvas, prep.crop_size)
    return extend(prep.crop(canvas), find_reach(prep.crop_size), boundary, prep.mean)


def find_reach(*sides: int) -> int:
    """How far pictures of these sides are moved at most, in pixels: a quarter of the smallest."""
    return max(1, min(sides) // 4)


def map_picture(
    lab: Lab,
    image: Image.Image,
    model: str,
    max_shift: int,
    boundary: str = "zero",
    *,
    twin: bool = False,
    fast_preview: bool = False,
    progress: Progress = no_progress,
    loading: Progress = no_progress,
) -> Iterator[PictureMap]:
    """The predictions for every shift of a picture up to ``max_shift``, coarse to fine.

    Every chunk is a turn of its own, so others can compute in between, and the generator may go on in another thread
    than it began in.

    Args:
        max_shift: Network-input pixels in each direction.
        fast_preview: Whether to compute in bfloat16.
        loading: Counts the bytes of weights that have to be downloaded.

    Raises:
        UserError: The shift is too large for the picture, or out of range.
    """
    _check_max_shift(max_shift)
    with lab.use(model, loading) as (loaded, facts):
        check_distance(max_shift, max_shift, loaded.spec.preprocessing.crop_size, boundary)
        scene, stride = build_scene(loaded, image, boundary, max_shift), find_total_stride(facts.layers)

    def network(inputs: Tensor) -> Tensor:
        if fast_preview:  # whose numbers are for nobody else
            with lab.use(model) as (mine, _):
                return ask(mine.module)(inputs)
        return lab.models.compute(model, inputs, ask)[0]

    ask = as_circular_twin if twin else as_it_is
    for current in map_shifts(network, scene, max_shift, fast_preview=fast_preview, progress=progress):
        category = loaded.spec.categories[current.target]
        notes = loaded.spec.preprocessing.list_notes(image)
        yield PictureMap(loaded.spec, boundary, twin, stride, category, current, notes=notes)


def map_all_circular_shifts(
    lab: Lab,
    image: Image.Image,
    model: str,
    max_shift: int,
    *,
    progress: Progress = no_progress,
    loading: Progress = no_progress,
) -> PictureMap:
    """The map of the model's circular twin for circular shifts, from one polyphase pass over all H x W of them.

    Args:
        max_shift: How much of it to show, in network-input pixels.

    Raises:
        UserError: The network cannot be followed through all shifts at once; says why.
    """
    from analysis.shift.polyphase import compute_all_shifts

    _check_max_shift(max_shift)
    with lab.use(model, loading) as (loaded, facts):
        found = compute_all_shifts(loaded.module, loaded.prepare(image), progress=lab.models.turns.sharing(progress))
        shown = to_shift_map(found.logits, max_shift)
        # Every phase stands for equally many of the H x W shifts, so their shares are those of the phases.
        votes = found.logits.flatten(0, 1).argmax(dim=1).bincount()
        agreement = measure_agreement(votes * (loaded.spec.preprocessing.crop_size**2 // int(votes.sum())))
        stride = find_total_stride(facts.layers)
    category = loaded.spec.categories[shown.target]
    notes = loaded.spec.preprocessing.list_notes(image)
    return PictureMap(loaded.spec, "circular", True, stride, category, shown, agreement, notes)


def measure_picture(
    lab: Lab,
    image: Image.Image,
    model: str,
    dx: float,
    dy: float,
    boundary: str = "zero",
    *,
    twin: bool = False,
    progress: Progress = no_progress,
    loading: Progress = no_progress,
) -> MeterReading:
    """The layer meter of a model under one shift of one picture; other samples give the level of each channel.

    Raises:
        UserError: The shift is too large for the picture.
    """
    with lab.use(model, loading) as (loaded, facts):
        prep = loaded.spec.preprocessing
        x, y = check_distance(dx, dy, prep.crop_size, boundary)
        scene = Scene(prep.to_canvas(image), prep.crop_size, boundary, loaded.to_inputs, prep.mean)
        reference, levels = load_references(loaded), facts.find_levels(loaded, twin=twin)
        layers = [layer for layer in facts.layers if layer.is_feature_map and _computes(layer)]
        names, direction = {layer.name for layer in layers}, _point(x, y)
        task = OwnErrors(loaded.module, scene, facts.layers, names, direction, levels)
        before, after = _report_both(lab.models.turns.sharing(progress), len(task.distances))
        with CircularPadding() if twin else nullcontext():
            (meters,) = measure_layers(
                loaded.module, [scene], x, y, layers, reference=reference, levels=levels, progress=before
            )
            phases = measure_down_the_network(loaded.module, scene, layers, reference=reference, levels=levels)
            own = task.measure(after)
    return MeterReading(loaded.spec, dx, dy, boundary, twin, meters, phases, own, prep.list_notes(image))


def check_model(
    lab: Lab, model: str, image: Image.Image, *, progress: Progress = no_progress, loading: Progress = no_progress
) -> tuple[IdentityResult, ...]:
    """Every identity of section "self-check" in docs/equivariance.md that says something about a model."""
    with lab.use(model, loading) as (loaded, facts):
        canvas = loaded.to_inputs(loaded.spec.preprocessing.to_canvas(image)[None])
        inputs = loaded.prepare(image)
        shared = lab.models.turns.sharing(progress)
        return check_identities(loaded.module, inputs, canvas=canvas, layers=facts.layers, progress=shared)


def _report_both(progress: Progress, later: int) -> tuple[Progress, Progress]:
    """The progress of one work and that of the next, which has ``later`` parts, as those of a single one."""
    first = 0

    def before(done: int, total: int) -> None:
        nonlocal first
        first = total
        progress(done, total + later)

    def after(done: int, _: int) -> None:
        progress(first + done, first + later)

    return before, after


def _point(dx: float, dy: float) -> tuple[int, int]:
    """Signs of a shift; to the right where nothing moves."""
    return ((dx > 0) - (dx < 0), (dy > 0) - (dy < 0)) if dx or dy else (1, 0)


def _computes(layer: Layer) -> bool:
    """Whether a layer does more than hand on what another one made."""
    return not layer.repeats and layer.type not in HANDS_ON


def build_scene(loaded: LoadedModel, image: Image.Image, boundary: str, max_shift: int) -> Extended:
    """The network input of a picture with its surroundings, normalised once, on the model's device.

    Args:
        max_shift: How far windows shall be able to move; a crop has the room that the picture has.
    """
    prep = loaded.spec.preprocessing
    canvas = prep.to_canvas(image)
    if boundary == "crop":
        scene = extend_crop(canvas, prep.crop_size)
    else:
        scene = extend(prep.crop(canvas), max_shift, boundary, prep.mean)
    return replace(scene, pixels=loaded.to_inputs(scene.pixels[None])[0])


def as_circular_twin(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network's circular twin as a function; the mode is entered for each call, so any thread may make it."""

    def forward(inputs: Tensor) -> Tensor:
        with CircularPadding():
            return module(inputs)

    return forward


def find_total_stride(layers: tuple[Layer, ...]) -> int | None:
    """Pixels per cell of the deepest feature map; None if there is none with a grid."""
    strides = [layer.stride for layer in layers if layer.stride]
    return max(strides, default=None)


def _check_max_shift(max_shift: int) -> None:
    if not 1 <= max_shift <= MAX_SHIFT:
        raise UserError(f"The largest shift of a map is between 1 and {MAX_SHIFT} pixels, not {max_shift}.")
