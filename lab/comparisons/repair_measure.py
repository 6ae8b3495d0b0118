"""What a repair bench measures of its arms: accuracy against consistency, exactness, and every layer."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from analysis.equivariance.meter import measure_layers
from analysis.errors import Progress, no_progress
from analysis.network.layers import outline
from analysis.shift.scene import Scene
from lab.comparisons.repair_config import RepairConfig
from lab.evaluation.config import EvaluationConfig
from lab.evaluation.distributed import settled
from lab.evaluation.run import evaluate
from lab.session import Lab
from models.cache import LoadedModel
from models.data.dataset import Dataset

CHUNK = 64
NUM_REFERENCES = 8
"""Test pictures that the layer meter takes each channel's level and spread from."""
MAX_SIDE = 32
"""All shifts of a picture are tried up to this side; of larger ones those that a network of stride 32 tells apart."""
OFFICIAL_TEST = ("fashion_mnist",)
"""Data sets whose test pictures do not depend on how a training divided the rest."""


def compare_models(
    lab: Lab, models: Sequence[str], dataset: Dataset, config: RepairConfig, work_dir: Path, progress: Progress
) -> dict:
    """Compares models on the same test pictures under the same shifts.

    Args:
        work_dir: For what an interrupted comparison goes on from.

    Returns:
        ``{models: [{accuracy, consistency, circular_logit_error, layers, weights_sha256}], pairs, protocol, data,
        environment}``, in the order of ``models``.
    """
    evaluation = EvaluationConfig(
        models=tuple(models),
        data=_test_pictures(dataset, config.dataset, work_dir),
        boundary=config.boundary,
        max_shift=config.max_shift,
        shifts=config.shifts,
        limit=config.limit,
        seed=config.seed,
        data_root=config.data_root,
    )
    document = evaluate(lab, evaluation, work_dir / "chunks", progress)
    figures = [
        {
            **{name: evaluated["statistics"][name] for name in ("accuracy", "consistency")},
            **_measure(lab, evaluated["model"], dataset.test.images, config.boundary, progress),
            "weights_sha256": evaluated["weights_sha256"],
        }
        for evaluated in document["models"]
    ]
    return {"models": figures, **{name: document[name] for name in ("pairs", "protocol", "data", "environment")}}


def _test_pictures(dataset: Dataset, name: str, run_dir: Path) -> str:
    """The data to evaluate: a known set, or the test pictures in a folder, so that none was trained on."""
    if name in OFFICIAL_TEST:
        return name
    folder = run_dir / "test_pictures"
    for index, (image, label) in enumerate(zip(dataset.test.images, dataset.test.labels.tolist(), strict=True)):
        path = folder / dataset.categories[label] / f"{index:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        array = image.permute(1, 2, 0).numpy()
        Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(path)
    return str(folder)


def _measure(lab: Lab, model: str, images: Tensor, boundary: str, progress: Progress) -> dict:
    """The figures of an arm that one picture is enough for."""
    with lab.use(model) as (loaded, facts), settled(None):
        pixels = images[: 1 + NUM_REFERENCES].float() / 255
        scene = Scene(pixels[0], pixels.shape[-1], boundary, loaded.to_inputs, loaded.spec.preprocessing.mean)
        reference = loaded.to_inputs(pixels[1:])
        (layers,) = measure_layers(
            loaded.module, [scene], 1, 0, outline(facts.layers), reference=reference, progress=progress
        )
        return {
            "circular_logit_error": measure_circular_error(loaded, pixels[0], progress),
            "layers": [asdict(layer) for layer in layers],
        }


@torch.inference_mode()
def measure_circular_error(loaded: LoadedModel, pixels: Tensor, progress: Progress = no_progress) -> float:
    """The largest change of the logits over the circular shifts of one picture, relative to their norm.

    Args:
        pixels: ``(C, H, W)`` in [0, 1].
    """
    side = min(*pixels.shape[-2:], MAX_SIDE)
    shifts = [(dy, dx) for dy in range(side) for dx in range(side)]
    worst = 0.0
    for start in range(0, len(shifts), CHUNK):
        progress(start, len(shifts))
        # The unshifted picture is in every batch: two batches may differ in the last bits.
        moved = [pixels, *(pixels.roll(shift, (1, 2)) for shift in shifts[start : start + CHUNK])]
        logits = loaded.module(loaded.to_inputs(torch.stack(moved))).double()
        worst = max(worst, float((logits - logits[0]).norm(dim=1).max() / logits[0].norm()))
    return worst
