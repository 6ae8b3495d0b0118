"""Training speed against the script one writes first and against the bare step; time to an accuracy, over seeds.

    python benchmarks/bench_train.py [--json] [--seeds N] [--epochs N] [--skip-accuracy]

Ratios within one run; they mean something only while the machine is otherwise idle.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

import torch
from torch import nn

from benchmarks.plain_script import Pictures, build_network, train_steps
from models.architectures import ARCHITECTURES
from models.data import Dataset, load_dataset
from models.optimization import OPTIMIZERS
from models.reproducible import reproducible
from models.runs import RunWriter, create_run
from models.stopping import StopRequest
from models.trainer import Trainer
from models.training import TrainingConfig, train

DATA_ROOT = "data"
ROUND_STEPS = 25
"""Steps of each kind in a row; kinds take turns, so that a slow moment hits all of them."""
ROUNDS = 6
TARGETS = {"seconds_to_90": (0.90, 1), "seconds_to_91_5": (0.915, 3)}
"""Name -> the validation accuracy, and how many times the default number of epochs a training for it has."""
WORKERS = (0, 2)
"""Loader processes that the plain script is tried with; the faster one counts."""


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
    run_dir = create_run(folder, "bench", config.to_dict())
    with RunWriter(run_dir) as writer, StopRequest(run_dir) as stop:
        trainer = Trainer(config, dataset, config.device, writer, stop)
        with trainer._accelerated():
            trainer._prepare()
            train_step = trainer._train_step
            trainer.model.train()
            while True:
                started = time.perf_counter()
                train_step(trainer.feed.index(trainer.step))
                if trainer.meter.seconds_since_report >= 0.5:
                    trainer._report_step()
                yield time.perf_counter() - started


def resident_steps(config: TrainingConfig, dataset: Dataset, precision: str) -> Iterator[float]:
    """The same forward, backward and optimiser step, fed from one random batch that is already there."""
    device = torch.device(config.device)
    layout = {"memory_format": torch.channels_last}
    model = build(config, dataset).to(device, **layout).train()
    options = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    optimizer = OPTIMIZERS[config.optimizer](model.parameters(), **options)
    shape = (config.batch_size, dataset.in_channels, dataset.image_size, dataset.image_size)
    images = torch.randn(shape, device=device).contiguous(**layout)
    labels = torch.randint(len(dataset.categories), (config.batch_size,), device=device)
    types = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    while True:
        started = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device.type, types[precision], enabled=precision != "no"):
            logits = model(images)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        yield time.perf_counter() - started


def measure_throughput(config: TrainingConfig, dataset: Dataset) -> dict:
    """Images per second of the trainer, the plain script and the bare step, measured in turns."""
    from models.precision import choose_precision

    sizes = [sum(p.numel() for p in net.parameters()) for net in (build(config, dataset), build_network())]
    assert sizes[0] == sizes[1], "the plain script trains another network"
    train_split, preprocessing = dataset.train, dataset.preprocessing()
    pictures = Pictures(train_split.images[:, 0].numpy(), train_split.labels.numpy(), preprocessing)
    precision = choose_precision(config.precision, config.device)
    steps = {
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "total_steps": 10**6,
    }
    with tempfile.TemporaryDirectory() as folder, reproducible(config.seed):
        kinds = {
            "own": own_steps(replace(config, max_steps=10**6, snapshots=False), dataset, Path(folder)),
            "resident": resident_steps(config, dataset, precision),
            **{f"plain_{n}": train_steps(build_network(), pictures, num_workers=n, **steps) for n in WORKERS},
        }
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number in range(ROUNDS + 1):
            for kind, stepping in kinds.items():
                taken = list(islice(stepping, ROUND_STEPS))
                if number:  # the first round warms up
                    seconds[kind].append(statistics.fmean(taken))
        for stepping in kinds.values():
            stepping.close()
    speed = {kind: config.batch_size / statistics.median(values) for kind, values in seconds.items()}
    plain = max(speed[f"plain_{number}"] for number in WORKERS)
    return {
        "vs_plain_script": speed["own"] / plain,
        "vs_resident_batch": speed["own"] / speed["resident"],
        "images_per_second": speed,
        "plain_seconds_per_epoch": len(train_split) / plain,
        "precision": precision,
    }


def measure_accuracy(config: TrainingConfig, seeds: int) -> dict:
    """Seconds until the validation accuracy first reaches each target, loading included, and the test accuracies."""
    found: dict = {"n": seeds}
    for name, (target, longer) in TARGETS.items():
        reached, accuracies = [], []
        for seed in range(seeds):
            at, accuracy = _train_until(
                replace(config, seed=seed, split_seed=0, epochs=longer * config.epochs), target
            )
            reached.append(at)
            accuracies.append(accuracy)
        found |= {name: _mean(reached), f"{name}_by_seed": reached, f"test_accuracy_{name[8:]}": accuracies}
    return found


def _train_until(config: TrainingConfig, target: float) -> tuple[float | None, float]:
    """When a training first reaches an accuracy, None if never; and its test accuracy at the end."""
    reached: list[float] = []
    started = time.perf_counter()

    def note(line: dict) -> None:
        if line["kind"] == "epoch" and line["val_accuracy"] >= target:
            reached.append(time.perf_counter() - started)

    with tempfile.TemporaryDirectory() as folder:
        result = train(config, Path(folder) / "run", note)
    return next(iter(reached), None), result.test_accuracy


def _mean(values: list[float | None]) -> float | None:
    """None where a seed never got there."""
    return None if None in values or not values else statistics.fmean(values)


def main() -> None:
    """Prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--seeds", type=int, default=5, help="trainings to an accuracy (default 5)")
    parser.add_argument("--epochs", type=int, default=TrainingConfig.epochs, help="of each (default: the page's)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--skip-accuracy", action="store_true", help="throughput only")
    options = parser.parse_args()
    config = TrainingConfig(device=options.device, epochs=options.epochs, data_root=DATA_ROOT)
    dataset = load_dataset(config.dataset, data_root=DATA_ROOT, seed=0)
    result = measure_throughput(config, dataset)
    if not options.skip_accuracy:
        result |= measure_accuracy(config, options.seeds)
    on_cuda = options.device == "cuda"
    result |= {
        "device": torch.cuda.get_device_name() if on_cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:24} {value:.3g}" if isinstance(value, float) else f"{name:24} {value}")


if __name__ == "__main__":
    main()
