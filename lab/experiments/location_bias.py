"""Location bias: shapes that are only on the left in training, and on the right in the test.

The same question as that of Kayhan and van Gemert, CVPR 2020, and of Biscione and Bowers, "Convolutional Neural
Networks Are Not Invariant to Translation, but They Can Learn to Be", JMLR 2021, for the last part of a network:
a classifier of all cells (flatten), of their mean (gap), or of each cell with the maximum of the scores (scan).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
from torch import nn

from analysis.errors import Cancelled, Progress
from lab.comparisons.readings import CONFIDENCE, mean_interval
from lab.comparisons.train import train_arm
from models.checkpoints import load_run_model
from models.data.preprocessing import Preprocessing
from models.data.shapes import SHAPES, ShapesConfig, make_shapes
from models.devices import DEVICES, resolve_device
from models.networks.parts import HEADS
from models.runs.run import request_stop
from models.runs.stop import StopRequest
from models.settings import Choice, Choices, Integer, Number, checked_dataclass
from models.training.config import TrainingConfig
from models.training.recorder import MetricsListener

TEST_SEED = 1000
"""Between the seeds of training pictures and those of test pictures."""
BATCH = 500


@checked_dataclass
class LocationBiasConfig:
    """``repeats`` networks with each head, all with the same budget; ``num_images`` are drawn for each training."""

    heads: Annotated[tuple[str, ...], Choices(tuple(HEADS))] = tuple(HEADS)
    repeats: Annotated[int, Integer(1, 100)] = 3
    epochs: Annotated[int, Integer(1, 1000)] = 8
    num_images: Annotated[int, Integer(10 * len(SHAPES), 200_000)] = 3000
    num_test: Annotated[int, Integer(10 * len(SHAPES), 200_000)] = 1200
    batch_size: Annotated[int, Integer(2, 8192)] = 64
    learning_rate: Annotated[float, Number(1e-8, 100.0)] = 0.1
    clutter: Annotated[float, Number(0.0, 1.0)] = ShapesConfig.clutter
    seed: Annotated[int, Integer(0, 2**31)] = 0
    device: Annotated[str, Choice(DEVICES)] = "auto"

    def __post_init__(self):
        self.training(self.heads[0], self.seed)  # checks that they fit each other

    def shapes(self, num_images: int, position: str) -> ShapesConfig:
        """What is drawn on one side."""
        return ShapesConfig(num_images=num_images, position=position, clutter=self.clutter)

    def training(self, head: str, seed: int) -> TrainingConfig:
        """How the network with this head is trained: the same for all but for the head."""
        return TrainingConfig(
            dataset="shapes",
            model={"head": head},
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=seed,
            device=self.device,
            shapes=self.shapes(self.num_images, "left"),
        )


def measure(lab, config: LocationBiasConfig, run_dir: Path, progress: Progress, known: dict) -> Iterator[dict]:
    """Trains runs named <run>-<head>-<seed>, which are models afterwards; one measurement for each."""
    jobs = [(head, config.seed + repeat) for repeat in range(config.repeats) for head in config.heads]
    total, stop = len(jobs) * config.epochs, StopRequest(run_dir)
    progress(0, total)
    for number, (head, seed) in enumerate(jobs):
        if (head, seed) in known:
            yield known[head, seed]
            continue
        arm = run_dir.with_name(f"{run_dir.name}-{head}-{seed}")
        train_arm(config.training(head, seed), arm, stop, _hear(arm, number * config.epochs, total, progress))
        module, _, preprocessing = load_run_model(arm)
        accuracy = {side: _test(module, preprocessing, side, seed, config) for side in ("left", "right")}
        yield {"head": head, "seed": seed, "run": arm.name, **accuracy}


def _hear(run_dir: Path, done: int, total: int, progress: Progress) -> MetricsListener:
    """Reports the epochs of an arm, and stops it where the answer is that the experiment shall end."""

    def hear(line: dict) -> None:
        nonlocal done
        done += line["kind"] == "epoch"
        try:
            progress(done, total)
        except Cancelled:
            request_stop(run_dir)

    return hear


def _test(module: nn.Module, preprocessing: Preprocessing, side: str, seed: int, config: LocationBiasConfig) -> float:
    """Accuracy on new pictures. Both sides have the same shapes, colours, marks and noise: only the place differs."""
    images, labels = make_shapes(config.shapes(config.num_test, side), seed=seed + TEST_SEED)
    device = resolve_device(config.device)
    module = module.to(device).eval()
    correct = 0
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            pixels = torch.from_numpy(images[start : start + BATCH]).float() / 255
            predicted = module(preprocessing.normalize(pixels).to(device)).argmax(1).cpu()
            correct += (predicted == torch.from_numpy(labels[start : start + BATCH])).sum().item()
    return correct / len(images)


def summarize(config: LocationBiasConfig, measured: list[dict]) -> dict:
    """The table so far, and what it says."""
    rows = []
    for head in config.heads:
        own = [m for m in measured if m["head"] == head]
        if own:
            drops = [m["left"] - m["right"] for m in own]
            numbers = {side: mean_interval([m[side] for m in own], 0.0, 1.0) for side in ("left", "right")}
            rows.append({"head": head, "repeats": len(own), **numbers, "drop": mean_interval(drops, -1.0, 1.0)})
    return {"rows": rows, "chance": 1 / len(SHAPES), "confidence": CONFIDENCE, "sentence": _describe(rows)}


def _name_change(row: dict) -> str:
    return f"{row['head']}, from {100 * row['left']['mean']:.1f} % to {100 * row['right']['mean']:.1f} %"


def _describe(rows: list[dict]) -> str:
    if len(rows) < 2:
        return ""
    least, *_, most = sorted(rows, key=lambda row: row["drop"]["mean"])
    text = (
        f"Trained with objects on the left only. When they are on the right, accuracy changes least with "
        f"{_name_change(least)}, and most with {_name_change(most)}; guessing gives {100 / len(SHAPES):.1f} %."
    )
    if least["drop"]["high"] is None or most["drop"]["low"] is None:
        return f"{text} With one network of each kind, this may be chance."
    if least["drop"]["high"] >= most["drop"]["low"]:
        return f"{text} The intervals of the two changes overlap: more repeats are needed to tell them apart."
    return f"{text} The intervals of the two changes do not overlap."
