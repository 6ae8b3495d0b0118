"""The strongest patches of every channel against the bare forward passes over the same pictures, in one run.

    python benchmarks/bench_channels.py [--json] [--repeats N] [--pictures N]

Ratios of medians of alternating measurements; they mean something only while the machine is otherwise idle.
"""

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

import torch

from analysis.channels.strongest import CHUNK, find_strongest
from analysis.network.layers import outline
from benchmarks.bench_shift import alternate
from lab.session import Lab
from models.registry import DEFAULT_MODEL


def measure_patches(repeats: int, num_pictures: int) -> dict[str, float]:
    """The last map, one in the middle, and all of the upper two levels, against the forward passes."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(device="cpu", runs_root=Path(folder))
        with lab.use(DEFAULT_MODEL) as (loaded, facts), torch.inference_mode():
            size = loaded.spec.preprocessing.crop_size
            pixels = torch.rand(num_pictures, 3, size, size, generator=torch.Generator().manual_seed(0))
            maps = [layer.name for layer in outline(facts.layers)]

            def load(numbers):
                return numbers, loaded.to_inputs(pixels[numbers[0] : numbers[-1] + 1])

            def run_bare() -> None:
                for start in range(0, num_pictures, CHUNK):
                    loaded.module(load(range(start, min(start + CHUNK, num_pictures)))[1])

            def search(names: list[str]) -> None:
                find_strongest(loaded.module, load, num_pictures, names)

            ways = {"last": maps[-1:], "middle": [maps[len(maps) // 2]], "all": maps}
            actions = {name: lambda layers=layers: search(layers) for name, layers in ways.items()}
            seconds = alternate({"bare": run_bare} | actions, repeats)
    ratios = {f"{name}_vs_bare": seconds[name] / seconds["bare"] for name in ways}
    speed = {"bare_pictures_per_second": num_pictures / seconds["bare"]}
    return ratios | {"layers": len(maps), "pictures": num_pictures} | speed


def main() -> None:
    """Prints a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each kind (default 3)")
    parser.add_argument("--pictures", type=int, default=128, help="pictures looked at (default 128)")
    options = parser.parse_args()
    facts = {
        "device": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "n": options.repeats,
    }
    result = measure_patches(options.repeats, options.pictures) | facts
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:32} {value:.3g}" if isinstance(value, float) else f"{name:32} {value}")


if __name__ == "__main__":
    main()
