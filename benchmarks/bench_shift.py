"""Shift maps against the model's own best throughput, and all circular shifts against brute force, in one run.

    python benchmarks/bench_shift.py [--json] [--repeats N]

Ratios of medians of alternating measurements; they mean something only while the machine is otherwise idle.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

import torch
import torchvision
from torch import Tensor, nn

from analysis.shift.circular import CircularPadding
from analysis.shift.move import shift_crop
from analysis.shift.polyphase import compute_all_shifts
from analysis.shift.shift_map import map_shifts
from lab.session import Lab
from lab.shifts import build_scene
from models.registry import DEFAULT_MODEL

SAMPLE = "chelsea"
MAX_SHIFT = 4
BATCHES = (1, 2, 4, 8, 16, 32)
SIDE = 64
PHASES = 32
"""Total stride of a ResNet: PHASES ** 2 shifts have logits of their own."""


def time_once(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def alternate(actions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each action; they take turns, so that a slow moment hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(repeats):
        for name, action in actions.items():
            times[name].append(time_once(action))
    return {name: statistics.median(values) for name, values in times.items()}


def measure_maps(repeats: int) -> dict[str, float]:
    """A crop map of the default model, its best batch on ready-made input, and the loop one would write first."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(device="cpu", runs_root=Path(folder))
        image = lab.open_image(SAMPLE)
        with lab.use(DEFAULT_MODEL) as (loaded, _), torch.inference_mode():
            cells = (2 * MAX_SHIFT + 1) ** 2
            ready = {size: loaded.prepare(image).repeat(size, 1, 1, 1) for size in BATCHES}
            ready = {size: x.contiguous(memory_format=loaded.spec.memory_format) for size, x in ready.items()}
            distances = range(-MAX_SHIFT, MAX_SHIFT + 1)
            prep = loaded.spec.preprocessing

            def run_map() -> None:
                scene = build_scene(loaded, image, "crop", MAX_SHIFT)
                list(map_shifts(loaded.module, scene, MAX_SHIFT))

            def run_loop() -> None:
                for dy in distances:
                    for dx in distances:
                        pixels = shift_crop(prep.to_canvas(image), prep.crop_size, dx, dy).pixels
                        loaded.module(loaded.to_inputs(pixels[None])).softmax(1)

            batches = {f"batch_{size}": lambda x=x: loaded.module(x) for size, x in ready.items()}
            seconds = alternate({"map": run_map, "loop": run_loop, **batches}, repeats)
    best_size = min(BATCHES, key=lambda size: seconds[f"batch_{size}"] / size)
    best = seconds[f"batch_{best_size}"] / best_size
    return {
        "map_vs_best_batch": best * cells / seconds["map"],
        "map_vs_loop": seconds["loop"] / seconds["map"],
        "map_seconds": seconds["map"],
        "best_batch": best_size,
        "best_batch_pictures_per_second": 1 / best,
    }


def measure_tree(repeats: int) -> dict[str, float]:
    """All circular shifts of a ResNet-18 at 64 x 64 px: the polyphase tree against its 1024 phases in batches."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = torchvision.models.resnet18(weights=None).eval().to(memory_format=torch.channels_last)
        picture = torch.randn(1, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    shifts = [(dy, dx) for dy in range(PHASES) for dx in range(PHASES)]
    rolled = torch.cat([picture.roll(shift, (2, 3)) for shift in shifts])
    rolled = rolled.contiguous(memory_format=torch.channels_last)
    trial = alternate({str(size): lambda s=size: _run(module, rolled[:128], s) for size in (16, 32, 64, 128)}, 2)
    best = int(min(trial, key=trial.get))
    runs = {
        "tree": lambda: compute_all_shifts(module, picture),
        "bruteforce": lambda: _run(module, rolled, best),
    }
    seconds = alternate(runs, repeats)
    found, expected = compute_all_shifts(module, picture).logits.flatten(0, 1), _run(module, rolled, best)
    return {
        "tree_vs_bruteforce": seconds["bruteforce"] / seconds["tree"],
        "tree_max_error": float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max()),
        "tree_seconds": seconds["tree"],
        "bruteforce_batch": best,
    }


@torch.inference_mode()
def _run(module: nn.Module, inputs: Tensor, size: int) -> Tensor:
    with CircularPadding():
        return torch.cat([module(part) for part in inputs.split(size)])


def main() -> None:
    """Prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each kind (default 5)")
    options = parser.parse_args()
    result = measure_maps(options.repeats) | measure_tree(max(2, options.repeats // 2))
    facts = {
        "device": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "n": options.repeats,
    }
    if options.json:
        print(json.dumps(result | facts))
        return
    for name, value in (result | facts).items():
        print(f"{name:32} {value:.3g}" if isinstance(value, float) else f"{name:32} {value}")


if __name__ == "__main__":
    main()
