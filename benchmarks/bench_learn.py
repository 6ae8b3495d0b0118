"""What the server does for the benches of the Learn tab, action by action, beside the bare forward pass.

    python benchmarks/bench_learn.py [--json] [--repeats N]

Sliders, steps and clicks on cells ask nothing; each of these is all that one action asks. Ratios mean something only
while the machine is otherwise idle.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

import torch
from bench_latency import SAMPLE, measure

from lab.learning.batches import differentiate, take_batch
from lab.learning.convolution import convolve_numbers
from lab.learning.kernels import list_kernels, read_kernel
from lab.learning.receptive_field import list_map_layers, measure_field
from lab.learning.stacks import draw_questions
from lab.session import Lab
from models.registry import DEFAULT_MODEL

BATCH = [[1.0, 2.0, 3.0], [2.0, -1.0, 0.0], [4.0, 0.0, 1.0]]


def measure_actions(lab: Lab, repeats: int) -> dict[str, float]:
    """Median milliseconds of each action, and of a forward pass in ``forward``."""
    image = lab.open_image(SAMPLE)
    kernels = list_kernels(lab, DEFAULT_MODEL)
    layers = [layer.name for layer in list_map_layers(lab, DEFAULT_MODEL)]
    with lab.models.use(DEFAULT_MODEL) as loaded, torch.inference_mode():
        inputs = loaded.prepare(image)
        forward = measure(lambda: loaded.module(inputs), repeats)
    grid = torch.arange(64 * 64, dtype=torch.float64).reshape(64, 64) % 7
    actions = {
        "convolve_64": lambda: convolve_numbers(grid, "sobel_x", padding=1),
        "kernel": lambda: read_kernel(lab, DEFAULT_MODEL, kernels[0].name, 0),
        "quiz": draw_questions,
        "batch": lambda: take_batch(lab, DEFAULT_MODEL),
        "autograd": lambda: differentiate(BATCH, BATCH, [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], 1e-5),
        "receptive_field_middle": lambda: measure_field(lab, image, DEFAULT_MODEL, layers[len(layers) // 2]),
        "receptive_field_last": lambda: measure_field(lab, image, DEFAULT_MODEL, layers[-1]),
        "receptive_field_7_pictures": lambda: measure_field(lab, image, DEFAULT_MODEL, layers[-1], num_pictures=7),
    }
    return {"forward": forward} | {name: measure(action, repeats) for name, action in actions.items()}


def main() -> None:
    """Prints milliseconds, and how many forward passes that is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = measure_actions(Lab(device="cpu", runs_root=Path(folder)), options.repeats)
    if options.json:
        print(json.dumps({f"{name}_ms": round(ms, 3) for name, ms in times.items()}))
        return
    for name, ms in times.items():
        print(f"{name:28} {ms:8.1f} ms {ms / times['forward']:8.2f} forwards")


if __name__ == "__main__":
    main()
