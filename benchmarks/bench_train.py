"""Training beside the script one writes first: pictures a second, the bare step, and the time to an accuracy.

    python benchmarks/bench_train.py [--json] [--seeds N] [--device cuda] [--skip-accuracy]

Ratios within one run; they mean something only while the machine is otherwise idle. All of it takes an hour on
two CPU cores, most of it for the ordinary script.
"""

import argparse
import gzip
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

import torch
from torch import nn

from benchmarks import plain_script
from models.data.dataset import Dataset
from models.data.datasets import load_dataset
from models.data.fashion_mnist import FILES, find_files
from models.determinism import reproducible
from models.networks.table import ARCHITECTURES
from models.runs.memory import keep_freed_memory
from models.runs.stop import StopRequest
from models.runs.submit import create_run
from models.runs.writer import RunWriter
from models.training.cuda_graphs import record_passes
from models.training.loop import Trainer
from models.training.optimization import OPTIMIZERS
from models.training.precision import choose_precision
from models.training.run import TrainingConfig, load_data
from models.training.setup import prepared
from models.training.steps import train_step

DATA_ROOT = "data"
ROUND_STEPS = 20
"""Steps of each kind in a row; kinds take turns, so that a slow moment hits all of them."""
ROUNDS = 10
TARGETS = {"seconds_to_90": (0.90, 5), "seconds_to_91_5": (0.915, 25)}
"""Name -> the test accuracy, and the epochs of a training for it; 5 are the page's default."""
WORKERS = tuple(number for number in (0, 2, 8) if number <= (os.cpu_count() or 1))
"""Loader processes that the plain script is tried with; the fastest one counts."""
SETTLE_SECONDS, SETTLE_STEPS = 0.5, 4 + 2 * max(WORKERS)
"""Before each turn, uncounted: loader processes fill their queues of two batches, and these are used up; caches are
another kind's."""
CONTEXT = get_context("spawn")
AUTOCAST = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Result = TypeVar("Result")


def build(config: TrainingConfig, dataset: Dataset) -> nn.Module:
    """The network of the configuration, fresh."""
    _, model_class = ARCHITECTURES[config.architecture]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return model_class(
            config.architecture_config(
                num_classes=len(dataset.categories),
                in_channels=dataset.in_channels,
                image_size=dataset.image_size,
            )
        )


def own_steps(config: TrainingConfig, dataset: Dataset, folder: Path) -> Iterator[float]:
    """Steps of the real trainer, with everything it does at and between them; yields the seconds of each."""
    config = replace(config, max_steps=10**6, snapshots=False)
    run_dir = create_run(folder, "bench", config.to_dict())
    with (
        RunWriter(run_dir) as writer,
        StopRequest(run_dir) as stop,
        prepared(config, dataset, config.device, writer, stop) as found,
    ):
        trainer = Trainer(found)
        found.model.train()
        while True:
            started = time.perf_counter()
            train_step(found, trainer.meter, trainer.step, found.rate(trainer.step))
            trainer.step += 1
            if trainer.meter.seconds_since_report >= 0.5:
                trainer._report_step()
            yield time.perf_counter() - started


def resident_steps(config: TrainingConfig, dataset: Dataset) -> Iterator[float]:
    """The same forward, backward and optimiser step, fed from one random batch that is already there."""
    device = torch.device(config.device)
    layout = {"memory_format": torch.channels_last}
    precision = choose_precision(config.precision, config.device)
    model = build(config, dataset).to(device, **layout).train()
    options = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    optimizer = OPTIMIZERS[config.optimizer](model.parameters(), **options)
    shape = (config.batch_size, dataset.in_channels, dataset.image_size, dataset.image_size)
    images = torch.randn(shape, device=device).contiguous(**layout)
    labels = torch.randint(len(dataset.categories), (config.batch_size,), device=device)
    if device.type == "cuda":
        enabled = precision != "no"
        record_passes(
            model, images, torch.autocast("cuda", AUTOCAST[precision], enabled=enabled, cache_enabled=False)
        )
    while True:
        started = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device.type, AUTOCAST[precision], enabled=precision != "no"):
            logits = model(images)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        yield time.perf_counter() - started


def plain_steps(config: TrainingConfig, data_folder: Path, workers: int) -> Iterator[float]:
    """Steps of the plain script."""
    pictures, _ = plain_script.load_pictures(data_folder)
    return plain_script.train_steps(plain_script.build_network().to(config.device), pictures, 10**6, workers)


def serve_turns(connection: Connection, config: TrainingConfig, is_own: bool, start: Callable, *arguments) -> None:
    """The life of a process that takes turns: for each message, the seconds of a step while nothing else runs."""
    if is_own:
        keep_freed_memory()
    synchronize = torch.cuda.synchronize if config.device == "cuda" else lambda: None
    with reproducible(config.seed) if is_own else nullcontext():  # an ordinary script does not ask for that
        stepping = start(config, *arguments)
        for _ in iter(connection.recv, None):
            sum(islice(stepping, SETTLE_STEPS))
            synchronize()
            started = time.perf_counter()
            sum(islice(stepping, ROUND_STEPS))
            synchronize()  # steps of a GPU are only asked for when they return
            connection.send((time.perf_counter() - started) / ROUND_STEPS)
        stepping.close()


@contextmanager
def kind_of_steps(*arguments) -> Iterator[Callable[[], float]]:
    """A process of its own for :func:`serve_turns`; the function takes a turn."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=serve_turns, args=(theirs, *arguments))
    process.start()
    theirs.close()

    def take_turn() -> float:
        ours.send("go")
        return ours.recv()

    try:
        yield take_turn
    finally:
        with suppress(OSError):  # it may have ended
            ours.send(None)
        process.join()


def measure_throughput(config: TrainingConfig, data_folder: Path) -> dict:
    """Images per second of the trainer, the plain script and the bare step, measured in turns."""
    dataset = load_dataset(config.dataset, data_root=DATA_ROOT, seed=config.seed)
    own, plain = build(config, dataset), plain_script.build_network()
    assert [p.shape for p in own.parameters()] == [p.shape for p in plain.parameters()], "another network"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as processes:
        kinds = {
            "own": (True, own_steps, dataset, Path(folder)),
            "resident": (True, resident_steps, dataset),
            **{f"plain_{number}": (False, plain_steps, data_folder, number) for number in WORKERS},
        }
        turns = {kind: processes.enter_context(kind_of_steps(config, *what)) for kind, what in kinds.items()}
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number in range(ROUNDS + 1):
            for kind, take_turn in turns.items():
                time.sleep(SETTLE_SECONDS)
                taken = take_turn()
                if number:  # the first round warms up
                    seconds[kind].append(taken)
    speed = {kind: config.batch_size / statistics.median(values) for kind, values in seconds.items()}

    def times_as_fast_as(other: str) -> float:
        # Within each round, as a machine that others use is half as fast in one minute as in the next.
        return statistics.median(theirs / own for own, theirs in zip(seconds["own"], seconds[other], strict=True))

    return {
        "vs_plain_script": min(times_as_fast_as(f"plain_{number}") for number in WORKERS),
        "vs_resident_batch": times_as_fast_as("resident"),
        "images_per_second": speed,
        "precision": choose_precision(config.precision, config.device),
    }


class Clock:
    """Seconds since it was made, less those of :meth:`pause`."""

    def __init__(self):
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
        return time.perf_counter() - self.started

    def pause(self, work: Callable[[], float]) -> float:
        """What the work returns; its time does not count."""
        before = time.perf_counter()
        try:
            return work()
        finally:
            self.started += time.perf_counter() - before


def measure_own(config: TrainingConfig) -> list[tuple[float, float]]:
    """Seconds and test accuracy after every epoch of a training, from its start with no data in memory."""
    keep_freed_memory()
    clock, found = Clock(), []

    def note(line: dict) -> None:
        if line["kind"] == "epoch":
            found.append((clock.seconds, clock.pause(lambda: trainer._assess(trainer.prepared.test).accuracy)))

    with tempfile.TemporaryDirectory() as folder:
        run_dir = create_run(Path(folder), "bench", config.to_dict())
        with (
            RunWriter(run_dir) as writer,
            StopRequest(run_dir) as stop,
            reproducible(config.seed),
            prepared(config, load_data(config), config.device, writer, stop) as ready,
        ):
            trainer = Trainer(ready, note)
            trainer.run()
    return found


def measure_plain(config: TrainingConfig, data_folder: Path, workers: int) -> list[tuple[float, float]]:
    """The same for the plain script, which spends no time on validation."""
    clock, found = Clock(), []
    torch.manual_seed(config.seed)
    train, test = plain_script.load_pictures(data_folder, config.seed)
    model = plain_script.build_network().to(config.device)
    steps = len(train) // plain_script.BATCH_SIZE
    training = plain_script.train_steps(model, train, steps * config.epochs, workers)
    for _ in range(config.epochs):
        for _ in islice(training, steps):
            pass
        if config.device == "cuda":
            torch.cuda.synchronize()
        found.append((clock.seconds, clock.pause(lambda: plain_script.measure_accuracy(model, test))))
    training.close()
    return found


def measure_accuracy(config: TrainingConfig, seeds: int, data_folder: Path, workers: int) -> dict:
    """Seconds until the test accuracy first reaches each target, and the accuracies at the end, over seeds."""
    result: dict = {"n": seeds}
    for name, (target, epochs) in TARGETS.items():
        curves: dict[str, list] = {"own": [], "plain": []}
        for seed in range(seeds):
            seeded = replace(config, seed=seed, epochs=epochs)
            curves["own"].append(in_own_process(measure_own, seeded))
            curves["plain"].append(in_own_process(measure_plain, seeded, data_folder, workers))
        found = {kind: summarise(each, target) for kind, each in curves.items()}
        result |= {name: found["own"]["seconds"]["mean"], f"{name}_details": {"epochs": epochs, **found}}
    return result


def in_own_process(measure: Callable[..., Result], *arguments) -> Result:
    """What the function returns, computed by a new process: what one kind does to its process is not another's."""
    with ProcessPoolExecutor(1, CONTEXT) as pool:
        return pool.submit(measure, *arguments).result()


def summarise(curves: list[list[tuple[float, float]]], target: float) -> dict:
    """Over trainings: seconds to a target, their mean where all reached it, and the test accuracy at the end."""
    reached = [next((seconds for seconds, accuracy in curve if accuracy >= target), None) for curve in curves]
    return {
        "seconds": _mean_and_std(reached) if None not in reached else {"mean": None, "std": None},
        "by_seed": reached,
        "test_accuracy": _mean_and_std([curve[-1][1] for curve in curves]),
    }


def _mean_and_std(values: list[float]) -> dict:
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def unpack_pictures(folder: Path) -> Path:
    """The files as torchvision wants them, if this machine has them in any form; else torchvision downloads them."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, path in zip(FILES, find_files(DATA_ROOT) or (), strict=False):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as source, (raw / name).open("wb") as target:
            shutil.copyfileobj(source, target)
    return folder


def main() -> None:
    """Prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--seeds", type=int, default=5, help="trainings to each accuracy (default 5)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--skip-accuracy", action="store_true", help="throughput only")
    options = parser.parse_args()
    config = TrainingConfig(device=options.device, data_root=DATA_ROOT)
    with tempfile.TemporaryDirectory() as folder:
        data_folder = unpack_pictures(Path(folder))
        result = measure_throughput(config, data_folder)
        if not options.skip_accuracy:
            speed = result["images_per_second"]
            workers = max(WORKERS, key=lambda number: speed[f"plain_{number}"])
            result |= measure_accuracy(config, options.seeds, data_folder, workers)
    on_cuda = options.device == "cuda"
    result |= {
        "device": torch.cuda.get_device_name() if on_cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version() if on_cuda else None,
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:24} {value:.3g}" if isinstance(value, float) else f"{name:24} {value}")


if __name__ == "__main__":
    main()
