"""Whether two checkouts of the project compute the same numbers, to the last bit, on this machine.

    python benchmarks/compare_checkouts.py BEFORE AFTER

Runs the same commands in both and compares their JSON without what tells time or place, and the pictures that they
write. Exit status 1 where any differ.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

TINY = "--dataset shapes --num-images 240 --seed 1 --device cpu --batch-size 8"
COMMANDS = {
    "train cnn": f"train --name cnn {TINY} --image-size 12 --epochs 3 --arch small_cnn --set channels=4,4",
    "train resnet": f"train --name resnet {TINY} --image-size 12 --max-steps 4 --arch cifar_resnet --augment",
    "train lenet5": f"train --name lenet5 {TINY} --image-size 32 --epochs 2 --arch lenet5 --optimizer adam",
    "classify": "classify coffee chelsea",
    "classify small": "classify shirt --model fashion_cnn",
    "shift": "shift chelsea --dx 3 --dy -2.5",
    "shift twin": "shift chelsea --dx 5 --boundary circular --twin",
    "shift-map": "shift-map chelsea --max-shift 3 --boundary crop",
    "meter": "meter chelsea --dx 2 --boundary crop",
    "self-check": "self-check --model fashion_cnn",
    "explain": "explain chelsea --method integrated_gradients --out {out}/gradients.png",
    "grad-cam": "explain coffee --method grad_cam --out {out}/cam.png",
    "evaluate": "evaluate --data shapes --model run/cnn --limit 60 --protocol exact",
}
"""In this order, as the last one looks at what the first one made."""
CHANGING = {"ms", "seconds", "run", "path", "out", "created", "pictures_per_second", "windows_per_second", "estimate"}
"""Keys of documents whose values tell time or place."""


class Failure(str):
    """How a command failed; also where both checkouts fail alike, nothing was compared."""


def keep(document: object) -> object:
    """A document without the :data:`CHANGING` parts."""
    if isinstance(document, dict):
        return {key: keep(value) for key, value in document.items() if key not in CHANGING}
    return [keep(value) for value in document] if isinstance(document, list) else document


def find_differences(before: object, after: object, place: str = "") -> Iterator[str]:
    """Where two documents differ, and how; an error in either counts as well."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from find_differences(before.get(key, "missing"), after.get(key, "missing"), f"{place}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, pair in enumerate(zip(before, after, strict=True)):
            yield from find_differences(*pair, f"{place}[{index}]")
    elif before != after or isinstance(before, Failure):
        yield f"{place or 'all'}: {str(before)[:90]} -> {str(after)[:90]}"


def run(checkout: Path, arguments: str, folder: Path) -> object:
    """What a command of a checkout prints as JSON, and the files that it wrote, as hex."""
    places = {"CONVSCOPE_RUNS_ROOT": str(folder / "runs"), "CONVSCOPE_DATA_ROOT": str(folder / "data")}
    command = [sys.executable, "cli.py", *arguments.format(out=folder).split(), "--json"]
    done = subprocess.run(command, cwd=checkout, env={**os.environ, **places}, capture_output=True, text=True)
    if done.returncode:
        return Failure(f"exit status {done.returncode}: {done.stderr.strip()[-300:]}")
    pictures = {path.name: path.read_bytes().hex() for path in folder.glob("*.png")}
    return [*[keep(json.loads(line)) for line in done.stdout.splitlines()], pictures]


def main() -> int:
    """Compares the checkouts that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    checkouts = parser.parse_args()
    num_different = 0
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        for title, arguments in COMMANDS.items():
            before = run(checkouts.before, arguments, Path(first))
            after = run(checkouts.after, arguments, Path(second))
            differences = [*find_differences(before, after)]
            num_different += bool(differences)
            print(f"{title:15} {'; '.join(differences[:4]) or 'equal'}", flush=True)
    return 1 if num_different else 0


if __name__ == "__main__":
    sys.exit(main())
