"""One moment of a training, to look at: the network of a snapshot on one of the run's pictures, quickly."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.attribution.methods import attribute
from analysis.channels.filters import find_filters
from analysis.errors import UserError
from analysis.figures.drawing import draw_filters
from analysis.figures.overlay import measure_scale
from analysis.network.layers import extract_features, find_layer
from analysis.network.predict import Prediction, predict, top_k
from lab.lru import RecentResults
from lab.runs.examples import Examples, read_examples
from lab.runs.snapshots import answer, prepare_images, snapshot_model
from lab.session import Lab
from models.cache import LoadedModel
from models.runs.run import Run

TOP = 5
MAX_FILTERS = 64
"""Filters that are kept."""
MAX_MAPS = 64
"""Channels of a layer that are kept."""
MAX_KEPT_BYTES = 128 * 2**20
"""Of the pictures of runs that are kept in memory."""

_EXAMPLES: RecentResults[Examples] = RecentResults(MAX_KEPT_BYTES)


@dataclass(frozen=True, eq=False)
class SnapshotView:
    """What a network was at one moment.

    Attributes:
        target: The picture's class, which ``saliency`` is about.
        filters: ``(N, C, h, w)`` of the first layer, None where they are no pictures.
        maps: ``(C, h, w)``, the first channels of the layer, None without a layer.
        saliency: ``(C, H, W)``, the gradient of the class score.
    """

    name: str
    index: int
    predictions: tuple[Prediction, ...]
    target: Prediction
    filters: Tensor | None
    num_filters: int
    layer: str | None
    maps: Tensor | None
    num_maps: int
    saliency: Tensor


@dataclass(frozen=True)
class Scales:
    """The magnitudes that get the strongest colours; zero where there is nothing to draw.

    ``is_signed`` says whether maps have negative values, which need a colour scale for both signs.
    """

    filters: float
    maps: float
    is_signed: bool
    saliency: float


def open_examples(run: Run) -> Examples:
    """As :func:`lab.runs.examples.read_examples`, but what was read last is kept until the file changes.

    Raises:
        UserError: Missing, damaged, or not what the network takes.
    """
    try:
        times = [(run.path / name).lstat().st_mtime_ns for name in ("examples.safetensors", "model.json")]
    except OSError as error:
        raise UserError(f"The run {run.name} has kept no pictures to show its network at work on.") from error
    key = (str(run.path.absolute()), *times)
    examples = _EXAMPLES.get(key)
    if examples is None:
        examples = read_examples(run)
        _EXAMPLES.keep(key, examples, examples.images.nbytes + 16 * len(examples))
    return examples


def pick_examples(labels: Tensor, count: int) -> list[int]:
    """Indices of ``count`` pictures of as many classes as possible: the first of every class, then the second.

    Args:
        labels: ``(N,)``.
    """
    seen: dict[int, int] = {}
    ranked = []
    for index, label in enumerate(labels.tolist()):
        rank = seen[label] = seen.get(label, -1) + 1
        if rank < count:
            ranked.append((rank, label, index))
    return [index for *_, index in sorted(ranked)[:count]]


def list_map_layers(lab: Lab, run: Run, step: int) -> list[str]:
    """The layers whose feature maps can be drawn, in the order of computation; each map under one name only.

    Raises:
        UserError: No such snapshot, or a file is damaged.
    """
    layers = lab.layers(snapshot_model(run, step))
    return [layer.name for layer in layers if layer.is_feature_map and not layer.repeats]


def view_snapshot(
    lab: Lab, run: Run, step: int, index: int, layer: str | None = None, *, examples: Examples | None = None
) -> SnapshotView:
    """Filters, feature maps, saliency and predictions of a run's network as it was at a step, on one picture.

    The last results are kept until the files change.

    Args:
        step: Of :func:`lab.runs.examples.list_snapshots`.
        layer: Of :func:`list_map_layers`, or None.

    Raises:
        UserError: No such snapshot, or a file is missing or damaged.
        UserError: No such picture or layer, or the network gives no finite numbers.
    """
    return answer(lab, run, step, ("view", index, layer), partial(_view, lab, index, layer), examples)


def _view(lab: Lab, index: int, layer: str | None, name: str, loaded: LoadedModel, examples: Examples):
    if not 0 <= index < len(examples):
        raise UserError(f"There is no picture {index}; the run has kept the pictures 0 to {len(examples) - 1}.")
    inputs = prepare_images(loaded, examples.images[index : index + 1])
    target = int(examples.labels[index])
    with lab.use(name) as (_, facts):
        probabilities = predict(loaded.module, inputs)[0].float().cpu()
        if not probabilities.isfinite().all():
            raise UserError(f"{name} gives no finite numbers for this picture; its weights have diverged.")
        found = None if layer is None else find_layer(facts.layers, layer).name
        maps = None if found is None else extract_features(loaded.module, inputs, found)[0]
        saliency = attribute(loaded.module, inputs, target, "saliency").values
        prep = loaded.spec.preprocessing
        filters = find_filters(loaded.module, (prep.num_channels, prep.crop_size, prep.crop_size))
    return SnapshotView(
        name=name,
        index=index,
        predictions=top_k(probabilities, examples.categories, min(TOP, len(examples.categories))),
        target=Prediction(target, examples.categories[target], float(probabilities[target])),
        filters=None if filters is None else filters[:MAX_FILTERS].clone(),
        num_filters=0 if filters is None else len(filters),
        layer=found,
        maps=None if maps is None else maps[:MAX_MAPS].clone(),
        num_maps=0 if maps is None else len(maps),
        saliency=saliency,
    )


def measure_scales(view: SnapshotView) -> Scales:
    """The scales that fit a view; those of a run's last snapshot make all its snapshots comparable."""
    return Scales(
        filters=0.0 if view.filters is None else float(_to_colors(view.filters).abs().max()),
        maps=0.0 if view.maps is None else float(view.maps.abs().max()),
        is_signed=view.maps is not None and float(view.maps.min()) < 0,
        saliency=measure_scale(view.saliency),
    )


def draw_filters_on(filters: Tensor, scale: float) -> list[NDArray[np.uint8]]:
    """As :func:`analysis.figures.drawing.draw_filters`, on a given scale; what is beyond its ends is cut off.

    Args:
        filters: ``(N, C, h, w)``.
        scale: The magnitude that becomes black or white; 0 takes the filters' own.
    """
    colors = _to_colors(filters)
    if not scale:
        return draw_filters(colors)
    # One more filter, as strong as the scale, sets the scale of all.
    reference = torch.full_like(colors[:1], scale)
    return draw_filters(torch.cat([colors.clamp(-scale, scale), reference]))[:-1]


def _to_colors(filters: Tensor) -> Tensor:
    """What is drawn of filters: all of three input channels, the mean of any other number."""
    return filters if filters.shape[1] == 3 else filters.mean(dim=1, keepdim=True)
