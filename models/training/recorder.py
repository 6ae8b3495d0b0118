"""What a training leaves in its run directory while it goes on; nothing where another process writes for it."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from analysis.errors import UserError
from models.checkpoints import describe_model, pack_weights, read_weights
from models.data.dataset import Dataset, Split, pick_evenly
from models.data.preprocessing import Preprocessing
from models.ordinary_files import read_json
from models.runs.files import pack_lines, read_lines, write_bytes, write_json
from models.runs.status import as_number
from models.runs.writer import RunWriter
from models.training.provenance import describe_environment, identify_data
from models.training.random_streams import Purpose, draw_generator
from models.training.resume import RESUME_FILE, save_resume_point

MetricsListener = Callable[[dict], None]

BEST = "best.safetensors"
MAX_SNAPSHOTS = 40
MAX_SNAPSHOT_BYTES = 256 * 2**20
"""Of all snapshots of a run together."""
MAX_EXAMPLE_BYTES = 64 * 2**20
MAX_CANDIDATES = 20_000
MAX_CANDIDATE_VALUES = 2**28
"""Of the training pictures among which the hardest are looked for, all channels and pixels together."""
MAX_HARD_EXAMPLES = 300
MAX_HARD_BYTES = 32 * 2**20
MAX_DATA_BYTES = 64 * 2**20
RESUME_SECONDS = 5.0
"""About how much work a killed training loses: more where a state takes long to save, or an epoch to validate."""
EPOCH_SECONDS = 1.0
"""Where epochs are shorter, not every one is kept."""
LONGER = 20
"""Between two savings lies at least so many times the time that the last one took."""


def snapshot_steps(total_steps: int, num_bytes: int, every: int | None = None) -> frozenset[int]:
    """When weights are kept on the way: from the first step on, when most changes, and then evenly.

    Args:
        num_bytes: Of one snapshot.
        every: Keeps them at the multiples of this, and at the last step; of a larger multiple of it where those
            would be too many.
    """
    count = min(MAX_SNAPSHOTS, MAX_SNAPSHOT_BYTES // max(num_bytes, 1))
    if count < 2:  # the first and the last alone say what the curves say
        return frozenset()
    if every is not None:
        # Without the last step: so many multiples from 0 on leave a place for it.
        distance = every * math.ceil(total_steps / (every * (count - 1)))
        return frozenset([*range(0, total_steps, distance), total_steps])
    num_early = count // 4
    num_even = count - 1 - num_early
    early = [2**power for power in range(num_early) if 2**power < total_steps]
    even = [round(total_steps * number / num_even) for number in range(1, num_even + 1)]
    return frozenset([0, *early, *even])


def load_best(run_dir: Path, module: nn.Module) -> None:
    """Puts the weights of the best epoch into the network. Raises UserError: the file is missing or damaged."""
    module.load_state_dict(read_weights(run_dir / BEST, module))


def forget_way(run_dir: Path) -> None:
    """Removes what only an unfinished training needs; for when its state says that it is finished."""
    for name in (RESUME_FILE, BEST):
        with suppress(OSError):  # what stays costs only room
            (run_dir / name).unlink(missing_ok=True)


def pick_kept_examples(split: Split) -> Tensor:
    """Indices of the validation or test pictures that are kept with the run: evenly spread where it is not all."""
    return pick_evenly(len(split), max(1, MAX_EXAMPLE_BYTES // split.images[0].numel()))


def pick_candidates(split: Split, seed: int, limit: int) -> Tensor:
    """Indices of the training pictures among which the hardest are looked for: all, or as many at random.

    Args:
        split: The training pictures, or their features.
        limit: How many at most, for example all that were trained on, so that looking costs less than training did.
    """
    count = min(limit, MAX_CANDIDATES, max(1, MAX_CANDIDATE_VALUES // split.images[0].numel()))
    if count >= len(split):
        return torch.arange(len(split))
    generator = draw_generator(seed, Purpose.HARD_EXAMPLES)
    return torch.randperm(len(split), generator=generator)[:count].sort().values


class Pace:
    """When to save next: some seconds after the last time, or later where saving takes long.

    Args:
        seconds: The least from the end of one saving to the next.
        is_due: Whether the first is due at once, and not only after those seconds.
    """

    def __init__(self, seconds: float, *, is_due: bool = False):
        self.seconds, self._cost = seconds, 0.0
        self._ended = -math.inf if is_due else time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() - self._ended >= max(self.seconds, LONGER * self._cost)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Put around the saving: how long it takes, and when it ends, decides when the next is due."""
        started = time.monotonic()
        yield
        self._ended = time.monotonic()
        self._cost = self._ended - started


class Journal:
    """Writes for one training; ``is_silent`` for those of several processes that write nothing."""

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
        self._examples = pick_kept_examples(dataset.validation)
        self.epochs, self.resume_points = Pace(EPOCH_SECONDS, is_due=True), Pace(RESUME_SECONDS)

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
            return (as_number(line.get("step")) or 0, as_number(line.get("epoch")) or 0) <= (step, epochs)

        path = self.run_dir / "metrics.jsonl"
        write_bytes(path, pack_lines(filter(is_past, read_lines(path))))

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

    def save_provenance(self, device: str, processes: int, precision: str) -> None:
        """Notes which data these are, bit for bit, and what the training runs on.

        Args:
            device: "cpu", "cuda" or "mps".
            processes: How many share every batch.
            precision: Of the training steps: "no", "bf16" or "fp16".

        Raises:
            UserError: The run began with other data.
        """
        path, found = self.run_dir / "data.json", identify_data(self.dataset)
        if path.exists() and read_json(path, MAX_DATA_BYTES).get("sha256") != found["sha256"]:
            raise UserError("The data have changed since this training began, so it cannot go on; start it anew.")
        if not self.is_silent:
            write_json(path, found)
            environment = describe_environment(device) | {"processes": processes, "precision": precision}
            write_json(self.run_dir / "environment.json", environment)

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

    def save_test_examples(self, logits: Tensor) -> None:
        """Keeps test pictures with what the finished network says of them, out of the logits of all, ``(N, K)``."""
        if self.is_silent:
            return
        split = self.dataset.test
        tensors = {"images": split.images, "labels": split.labels, "ids": split.ids, "logits": logits.cpu()}
        kept = pick_kept_examples(split)
        self._write_tensors("test_examples", {name: tensor[kept] for name, tensor in tensors.items()})

    def save_hard_examples(self, split: Split, index: Tensor, logits: Tensor) -> None:
        """Keeps the training pictures with the largest losses: where wrong labels turn up, to be put right.

        Args:
            split: The training pictures, with the labels that were trained on.
            index: Those among which they are looked for.
            logits: Of these, ``(N, K)``.
        """
        if self.is_silent:
            return
        count = min(MAX_HARD_EXAMPLES, max(1, MAX_HARD_BYTES // split.images[0].numel()))
        losses = F.cross_entropy(logits.cpu().double(), split.labels[index].cpu(), reduction="none")
        places = losses.argsort(descending=True, stable=True)[:count]
        hard = split.take(index[places])
        tensors = {"images": hard.images, "labels": hard.labels, "ids": hard.ids}
        self._write_tensors("hard_examples", tensors | {"logits": logits[places]})

    def save_resume_point(
        self, module: nn.Module, optimizer: Optimizer, meter: Mapping[str, Tensor], progress: dict
    ) -> None:
        """See :func:`models.training.resume.save_resume_point`."""
        with self.resume_points.saving():
            if not self.is_silent:
                save_resume_point(self.run_dir, module, optimizer, meter, progress)

    def _write_tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        from safetensors.torch import save

        packed = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        write_bytes(self.run_dir / f"{name}.safetensors", save(packed))
