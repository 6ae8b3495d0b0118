"""What a training leaves in its run directory while it goes on; nothing where another process writes for it."""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.checkpoints import describe_model, pack_weights, read_json
from models.data import Dataset, Split
from models.errors import ModelsError
from models.preprocessing import Preprocessing
from models.provenance import describe_data, describe_environment
from models.resume_point import FILE as RESUME_POINT
from models.resume_point import save_resume_point
from models.runs import RunWriter, read_lines, write_bytes, write_json

MetricsListener = Callable[[dict], None]

BEST = "best.safetensors"
MAX_SNAPSHOTS = 40
MAX_SNAPSHOT_BYTES = 256 * 2**20
"""Of all snapshots of a run together."""
MAX_EXAMPLE_BYTES = 64 * 2**20
MAX_DATA_BYTES = 64 * 2**20
RESUME_SECONDS = 5.0
"""How much work a killed training loses at most."""
EPOCH_SECONDS = 1.0
"""Where epochs are shorter, not every one is kept: writing a large network would take longer than training it."""


def snapshot_steps(total_steps: int, num_bytes: int) -> frozenset[int]:
    """When weights are kept on the way: from the first step on, when most changes, and then evenly.

    Args:
        total_steps: Of the training.
        num_bytes: Of one snapshot.
    """
    count = min(MAX_SNAPSHOTS, MAX_SNAPSHOT_BYTES // max(num_bytes, 1))
    if count < 2:  # the first and the last alone say what the curves say
        return frozenset()
    num_early = count // 4
    num_even = count - 1 - num_early
    early = [2**power for power in range(num_early) if 2**power < total_steps]
    even = [round(total_steps * number / num_even) for number in range(1, num_even + 1)]
    return frozenset([0, *early, *even])


def load_best(run_dir: Path, module: nn.Module) -> None:
    """Puts the weights of the best epoch into the network."""
    from safetensors.torch import load_model

    load_model(module, run_dir / BEST, device=str(next(module.parameters()).device))


def pick_examples(split: Split) -> Tensor:
    """Indices of the validation pictures that are kept with the run, evenly spread where not all of them can be."""
    per_image = split.images[0].numel()
    count = min(len(split), max(1, MAX_EXAMPLE_BYTES // per_image))
    return torch.linspace(0, len(split) - 1, count, dtype=torch.float64).round().long()


class Journal:
    """Writes for one training; ``is_silent`` for those of several processes that write nothing.

    Args:
        writer: Of the run.
        architecture: A key of ``ARCHITECTURES``.
        dataset: What is trained on.
        preprocessing: What the network needs.
        listener: Told each line of metrics as it is written.
        is_silent: Whether to write nothing at all.
    """

    def __init__(
        self,
        writer: RunWriter,
        architecture: str,
        dataset: Dataset,
        preprocessing: Preprocessing,
        listener: MetricsListener | None,
        is_silent: bool,
    ):
        self.writer, self.listener, self.is_silent = writer, listener, is_silent
        self.architecture, self.dataset, self.preprocessing = architecture, dataset, preprocessing
        self._examples = pick_examples(dataset.validation)
        self._resume_saved = time.monotonic()
        self._epoch_kept = -math.inf

    @property
    def run_dir(self) -> Path:
        return self.writer.run_dir

    def report(self, metrics: dict, status: dict) -> None:
        """Adds a line to metrics.jsonl and changes the status."""
        if self.is_silent:
            return
        self.writer.add_metrics(metrics)
        self.writer.update(**status)
        if self.listener:
            self.listener(metrics)

    def go_on(self, step: int, epochs: int) -> None:
        """Takes back the lines about what will be done again after a restart at ``step``."""
        if self.is_silent:
            return

        def is_past(line: dict) -> bool:
            # An epoch's end is reported with the number of its last step, before the state is saved.
            return line.get("step", 0) < step or (line.get("step") == step and line.get("epoch", 0) <= epochs)

        path = self.run_dir / "metrics.jsonl"
        kept = [json.dumps(line) + "\n" for line in read_lines(path) if is_past(line)]
        write_bytes(path, "".join(kept).encode())

    def save_model(self, module: nn.Module) -> str:
        """Writes the model as it is now; returns the SHA-256 of the weights file."""
        data, sha256 = pack_weights(module)
        if not self.is_silent:
            description = describe_model(module, self.architecture, self.dataset.categories, self.preprocessing)
            write_bytes(self.run_dir / "weights.safetensors", data)
            write_json(self.run_dir / "model.json", description)
        return sha256

    def save_best(self, module: nn.Module) -> None:
        """Keeps the weights of the best epoch so far; see :func:`load_best`."""
        if not self.is_silent:
            write_bytes(self.run_dir / BEST, pack_weights(module)[0])

    def save_snapshot(self, module: nn.Module, step: int) -> None:
        """Keeps the weights of a step beside those of the others."""
        if self.is_silent:
            return
        folder = self.run_dir / "snapshots"
        folder.mkdir(exist_ok=True)
        if not (self.run_dir / "model.json").exists():  # what a snapshot belongs to
            description = describe_model(module, self.architecture, self.dataset.categories, self.preprocessing)
            write_json(self.run_dir / "model.json", description)
        write_bytes(folder / f"{step:07d}.safetensors", pack_weights(module)[0])

    def save_provenance(self, device: str) -> None:
        """Notes which data these are, bit for bit, and what the training runs on.

        Raises:
            ModelsError: The run began with other data.
        """
        path, found = self.run_dir / "data.json", describe_data(self.dataset)
        if path.exists() and read_json(path, MAX_DATA_BYTES).get("sha256") != found["sha256"]:
            raise ModelsError("The data have changed since this training began, so it cannot go on; start it anew.")
        if not self.is_silent:
            write_json(path, found)
            write_json(self.run_dir / "environment.json", describe_environment(device))

    def save_examples(self) -> None:
        """Keeps validation pictures, for whoever looks at the run without having the data."""
        if self.is_silent or (self.run_dir / "examples.safetensors").exists():
            return
        split = self.dataset.validation
        tensors = {"images": split.images, "labels": split.labels, "ids": split.ids}
        self._write_tensors("examples", {name: tensor[self._examples] for name, tensor in tensors.items()})

    def save_predictions(self, logits: Tensor) -> None:
        """Keeps the logits of the examples out of those of all validation pictures, ``(N, K)``."""
        if not self.is_silent:
            self._write_tensors("predictions", {"logits": logits.cpu()[self._examples]})

    def is_epoch_due(self) -> bool:
        """Whether the model of an epoch that has ended should be kept; asking counts as keeping it."""
        now = time.monotonic()
        is_due = now - self._epoch_kept >= EPOCH_SECONDS
        if is_due:
            self._epoch_kept = now
        return is_due

    def is_resume_point_due(self) -> bool:
        """Whether the last one is some seconds old."""
        return time.monotonic() - self._resume_saved >= RESUME_SECONDS

    def save_resume_point(
        self, module: nn.Module, optimizer: Optimizer, meter: Mapping[str, Tensor], progress: dict
    ) -> None:
        """See :func:`models.resume_point.save_resume_point`."""
        self._resume_saved = time.monotonic()
        if not self.is_silent:
            save_resume_point(self.run_dir, module, optimizer, meter, progress)

    def forget_way(self) -> None:
        """Removes what only an unfinished training needs."""
        if not self.is_silent:
            for name in (RESUME_POINT, BEST):
                (self.run_dir / name).unlink(missing_ok=True)

    def _write_tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        from safetensors.torch import save

        packed = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        write_bytes(self.run_dir / f"{name}.safetensors", save(packed))
