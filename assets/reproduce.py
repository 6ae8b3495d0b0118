"""Trains the run of this capsule again and says whether the weights come out the same, bit for bit.

Unzip the capsule and run this file with the Python that ConvScope is installed for:

    python reproduce.py --project FOLDER_OF_CONVSCOPE [--dataset FOLDER_OR_ZIP] [--runs-root FOLDER] [--name NAME]

It needs the same data (give --dataset where they lie elsewhere now) and promises equal weights only on the same
kind of machine with the same versions; where something differs, it says what. Exit status: 0 equal, 1 not.
"""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Trains, compares, tells."""
    options = read_options()
    if options.project:
        sys.path.insert(0, str(Path(options.project).resolve()))
    try:
        import torch

        from analysis.errors import UserError
        from models.data.datasets import DATASETS
        from models.training.run import TrainingConfig, train
    except ImportError as error:
        print(f"ConvScope cannot be imported ({error}); name its folder with --project.", file=sys.stderr)
        return 2

    capsule, before = read("capsule.json"), read("environment.json")
    threads = before.get("threads")
    if isinstance(threads, int) and 1 <= threads <= 256:
        torch.set_num_threads(threads)  # sums over pixels may depend on how they are divided
    changes = {name: value for name in ("dataset", "device") if (value := getattr(options, name))}
    # A capsule may come from anybody: where data lie and who is told of the training is not for its files to say.
    changes |= {"data_root": options.data_root, "trackers": []}
    if not options.dataset and read("config.json").get("dataset") not in list(DATASETS):
        print("It was trained on own pictures, which a capsule does not bring; say --dataset.", file=sys.stderr)
        return 2
    run_dir = Path(options.runs_root).resolve() / (options.name or f"{capsule['run'][:50]}-again")
    try:
        config = TrainingConfig.from_dict({**read("config.json"), **changes})
        result = train(config, run_dir, on_metrics=show_epoch)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        if start := read("config.json").get("start_from"):
            print(f"It begins with the weights of {start}, which --runs-root must have.", file=sys.stderr)
        return 2
    if result.state != "finished":
        print(f"The training was {result.state}; there is nothing to compare.", file=sys.stderr)
        return 2

    expected = capsule["result"]
    is_equal = result.weights_sha256 == expected["weights_sha256"]
    print(f"test accuracy {result.test_accuracy}, in the capsule {expected['test_accuracy']}")
    print(f"weights_sha256 {result.weights_sha256}\nin the capsule {expected['weights_sha256']}")
    print("EQUAL: the weights are the same, bit for bit." if is_equal else "DIFFERENT: the weights are not the same.")
    if not is_equal:
        tell_differences(before, run_dir)
    return 0 if is_equal else 1


def read_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Train the run of this capsule again and compare the weights.")
    parser.add_argument("--project", help="folder of ConvScope, unless it is on the path")
    parser.add_argument("--dataset", help="where the pictures lie now, if they were your own")
    parser.add_argument("--data-root", default="data", help="where known data sets are kept")
    parser.add_argument("--device", help="auto, cpu, cuda or mps; by default as it was")
    parser.add_argument("--runs-root", default=str(HERE / "runs"), help="where the new run goes")
    parser.add_argument("--name", help="of the new run")
    return parser.parse_args()


def read(name: str, folder: Path = HERE) -> dict:
    """A JSON file of the capsule, or of another folder; empty where it has none."""
    path = folder / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def show_epoch(metrics: dict) -> None:
    """One line for each epoch."""
    if metrics["kind"] == "epoch":
        print(f"epoch {metrics['epoch']}: validation accuracy {metrics['val_accuracy']:.2%}", flush=True)


def tell_differences(before: dict, run_dir: Path) -> None:
    """Why the weights may differ: other data, versions, hardware, precision or number of processes."""
    if read("data.json"):
        same = read("data.json", run_dir)["sha256"] == read("data.json")["sha256"]
        print("The data are the same." if same else "The DATA are not the same as they were.")
    now = read("environment.json", run_dir)
    for name in before:
        if before[name] != now.get(name):
            print(printable(f"{name} is {now.get(name)}, and was {before[name]}"))


def printable(text: str) -> str:
    """Without what a terminal takes for an order."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


if __name__ == "__main__":
    sys.exit(main())
