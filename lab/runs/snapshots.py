"""Looking into a training run: how good and how healthy its network was at any step that was kept."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from analysis.confusion import Confusion, measure_confusion
from analysis.errors import Progress, UserError, no_progress
from analysis.network.chunks import halve, unless_too_large
from analysis.network.health import LayerHealth, measure_health
from analysis.shift.move import extend
from analysis.shift.shift_map import map_shifts
from lab.lru import RecentResults
from lab.runs.examples import Examples, read_examples
from lab.session import Lab
from models.cache import LoadedModel
from models.registry import RUN_PREFIX
from models.runs.run import Run

CHUNK_PIXELS = 2**20
"""Input values per forward pass, so that others get the model in between and a cancel is heard soon."""
MAX_KEPT_BYTES = 64 * 2**20
"""Of all results that are kept."""
SMALL_BYTES = 4096
"""What a result takes besides its tensors, roughly."""
NUM_PICTURES = 12
NUM_HEALTH = 256
HEALTH_VALUES = 2**23
"""Input values of the one forward pass for that: of large pictures there are fewer."""
MAX_SHIFT = 2
"""Pixels each way: 25 shifts of each picture."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class SnapshotConsistency:
    """Shift consistency of a few examples, each over all shifts of a small square.

    Attributes:
        value: Mean over the pictures of the share of pairs of shifts with the same predicted class.
        pictures: The same for each picture.
        max_shift: Pixels each way.
    """

    value: float
    pictures: tuple[float, ...]
    max_shift: int
    boundary: str


_RESULTS: RecentResults[Any] = RecentResults(MAX_KEPT_BYTES)


def snapshot_model(run: Run, step: int | None) -> str:
    """What the registry calls the run's network at a step that was kept, or its latest one."""
    return f"{RUN_PREFIX}{run.name}" if step is None else f"{RUN_PREFIX}{run.name}@{step}"


def evaluate_snapshot(
    lab: Lab,
    run: Run,
    step: int | None,
    *,
    examples: Examples | None = None,
    limit: int | None = None,
    progress: Progress = no_progress,
) -> Confusion:
    """Confusion matrix and accuracy of a run's network, as it was at a step, on the run's examples.

    The network is lent for one chunk at a time. The last results are kept until the files change.

    Args:
        step: Of :func:`lab.runs.examples.list_snapshots`; None takes the latest weights.
        limit: At most so many of the examples, evenly spread and the same at every step; None takes all.

    Raises:
        UserError: No such snapshot, or a file is missing or damaged; the network gives no finite numbers.
    """

    def compute(name: str, loaded: LoadedModel, examples: Examples) -> Confusion:
        images, labels = (spread(tensor, limit or len(examples)) for tensor in (examples.images, examples.labels))
        logits = _compute_logits(lab, name, loaded, images, progress)
        return measure_confusion(logits, labels, examples.categories)

    return answer(lab, run, step, ("confusion", limit), compute, examples)


def snapshot_consistency(
    lab: Lab,
    run: Run,
    step: int | None,
    *,
    num_pictures: int = NUM_PICTURES,
    max_shift: int = MAX_SHIFT,
    boundary: str = "zero",
    progress: Progress = no_progress,
) -> SnapshotConsistency:
    """How well a run's network, as it was at a step, keeps its answer when a few of its examples are moved.

    Exact for each picture: the U-statistic over all ``(2 * max_shift + 1) ** 2`` shifts, as in a shift map. The
    pictures are the same at every step, evenly spread over the examples.

    Args:
        step: Of :func:`lab.runs.examples.list_snapshots`; None takes the latest weights.
        boundary: A key of ``analysis.shift.move.BOUNDARIES`` other than ``crop``: the examples have no surroundings.

    Raises:
        UserError: No such snapshot, or a file is missing or damaged; an unknown boundary, or settings out of range.
    """

    def compute(name: str, loaded: LoadedModel, examples: Examples) -> SnapshotConsistency:
        side = examples.images.shape[-1]
        if num_pictures < 1 or not 1 <= max_shift <= side // 2:
            raise UserError(f"Consistency needs a picture and shifts of 1 to {side // 2} pixels, not {max_shift}.")
        images, values = spread(examples.images, num_pictures).float() / 255, []
        for number, pixels in enumerate(images):
            progress(number, len(images))
            scene = extend(pixels, max_shift, boundary, loaded.spec.preprocessing.mean)
            scene = replace(scene, pixels=loaded.to_inputs(scene.pixels[None])[0])
            with lab.use(name):
                *_, complete = map_shifts(loaded.module, scene, max_shift)
            values.append(complete.consistency)
        progress(len(images), len(images))
        return SnapshotConsistency(sum(values) / len(values), tuple(values), max_shift, boundary)

    return answer(lab, run, step, ("consistency", num_pictures, max_shift, boundary), compute)


def snapshot_health(lab: Lab, run: Run, step: int | None) -> tuple[LayerHealth, ...]:
    """Dead and saturated channels of a run's network, as it was at a step, on some of its examples.

    These are up to ``NUM_HEALTH``, and no more input values than ``HEALTH_VALUES``.

    Raises:
        UserError: No such snapshot, or a file is missing or damaged.
    """

    def compute(name: str, loaded: LoadedModel, examples: Examples) -> tuple[LayerHealth, ...]:
        count = min(NUM_HEALTH, max(HEALTH_VALUES // examples.images[0].numel(), 1))
        inputs = prepare_images(loaded, spread(examples.images, count))
        with lab.use(name):
            return tuple(measure_health(loaded.module, inputs))

    return answer(lab, run, step, ("health",), compute)


def _compute_logits(lab: Lab, name: str, loaded: LoadedModel, images: Tensor, progress: Progress) -> Tensor:
    """``(N, K)`` float32 on the CPU, in chunks."""
    chunk = max(CHUNK_PIXELS // images[0].numel(), 1)
    parts: list[Tensor] = []
    done = 0
    while done < len(images):
        progress(done, len(images))
        with lab.use(name):
            logits = unless_too_large(
                _predict, loaded.module, lambda part=images[done : done + chunk]: prepare_images(loaded, part)
            )
        if logits is None:
            chunk = halve(chunk)
            continue
        parts.append(logits)
        done += chunk
    progress(len(images), len(images))
    return torch.cat(parts)


def prepare_images(loaded: LoadedModel, images: Tensor) -> Tensor:
    """Network input ``(N, C, H, W)`` from examples, uint8 of the same shape."""
    return loaded.to_inputs(images.float() / 255)


@torch.inference_mode()
def _predict(module: nn.Module, prepare: Callable[[], Tensor]) -> Tensor:
    return module(prepare()).float().cpu()


def spread(images: Tensor, count: int) -> Tensor:
    """At most ``count`` of the rows, at even distances."""
    return images[torch.linspace(0, len(images) - 1, min(count, len(images))).round().long()]


def answer(
    lab: Lab,
    run: Run,
    step: int | None,
    question: tuple,
    compute: Callable[[str, LoadedModel, Examples], Answer],
    examples: Examples | None = None,
) -> Answer:
    """What is known already, or computed now with the network's name, the network, and the run's examples.

    Args:
        step: Of :func:`lab.runs.examples.list_snapshots`; None takes the latest weights.
        question: What is asked, apart from the network, the pictures and the device.
        compute: Makes a dataclass, whose tensors count as its size; it borrows the network by ``lab.use(name)``.

    Raises:
        UserError: No such snapshot, a file is missing or damaged, or the pictures do not fit the network.
    """
    name = snapshot_model(run, step)
    facts = (*question, *_find_facts(lab, run, name))
    if (known := _RESULTS.get((*facts, lab.registry.get(name).version))) is not None:
        return known
    examples = examples or read_examples(run)
    loaded = _borrow(lab, name, examples)
    found = compute(name, loaded, examples)
    tensors = [value for value in getattr(found, "__dict__", {}).values() if isinstance(value, Tensor)]
    _RESULTS.keep((*facts, loaded.spec.version), found, sum(tensor.nbytes for tensor in tensors) + SMALL_BYTES)
    return found


def _find_facts(lab: Lab, run: Run, name: str) -> tuple:
    """What a result depends on besides the weights: which network, which pictures, and where it is computed."""
    path = run.path / "examples.safetensors"
    try:
        written = path.stat().st_mtime_ns
    except OSError as error:
        raise UserError(f"The run {run.name} has kept no pictures to test its network on.") from error
    return str(run.path.absolute()), name, written, str(lab.models.device)


def _borrow(lab: Lab, name: str, examples: Examples) -> LoadedModel:
    """The network, which stays the same also if the run writes a newer one meanwhile; use it inside ``lab.use``.

    Raises:
        UserError: It takes other pictures than those kept with the run.
    """
    with lab.use(name) as (loaded, _):
        prep = loaded.spec.preprocessing
    expected = (prep.num_channels, prep.crop_size, prep.crop_size)
    if tuple(examples.images.shape[1:]) != expected or loaded.spec.categories != examples.categories:
        raise UserError(f"The pictures kept with the run do not fit {loaded.spec.name}.")
    return loaded
