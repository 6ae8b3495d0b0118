"""The commands of cli.py, by subject, and what they share."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.shift.move import BOUNDARIES
from lab.session import Lab
from models.names import readable_path
from models.training.run import TrainingResult

app = typer.Typer(
    help="ConvScope without a browser: the same functions, one command each, --json for machines.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

if TYPE_CHECKING:
    BoundaryName = str
else:
    BoundaryName = StrEnum("BoundaryName", {name: name for name in BOUNDARIES})

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
ModelOption = Annotated[str, typer.Option("--model", "-m", help="A name that `models` lists, or run/NAME.")]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")]
ImageArgument = Annotated[str, typer.Argument(help="A picture file, or the name of a sample such as chelsea.")]


def environment(name: str, default: str) -> str:
    """A setting of the environment: CONVSCOPE_<name>."""
    return os.environ.get(f"CONVSCOPE_{name}", default)


def data_root() -> Path:
    """Where data sets are kept; a readable path."""
    return Path(readable_path(Path(environment("DATA_ROOT", "data")).resolve()))


def runs_root() -> Path:
    """Where runs are kept."""
    return Path(environment("RUNS_ROOT", "runs")).resolve()


def make_lab() -> Lab:
    """The lab that the environment describes."""
    return Lab(device=environment("DEVICE", "auto"), data_root=data_root(), runs_root=runs_root())


def printed(document: object, as_json: bool) -> bool:
    """Whether --json was asked for; its one document is then printed."""
    if as_json:
        typer.echo(json.dumps(document, allow_nan=False))
    return as_json


def show_download(done: int, total: int) -> None:
    """Says on stderr how much of the weights has come."""
    end = "\n" if done >= total else "\r"
    print(f"downloading weights: {done / 2**20:.0f} of {total / 2**20:.0f} MB", end=end, file=sys.stderr)


def print_predictions(predictions: list[dict]) -> None:
    """One line for each class: probability, index and name."""
    for prediction in predictions:
        typer.echo(f"  {prediction['probability']:6.1%}  {prediction['index']:4d}  {prediction['category']}")


def print_notes(notes: Sequence[str]) -> None:
    """What the user should know of how a picture was opened."""
    for note in notes:
        typer.echo(f"note: {note}")


def show_epoch(metrics: dict) -> None:
    """One line on stderr for each epoch of a training, out of the lines of its metrics."""
    if metrics["kind"] == "epoch":
        accuracy = f"training accuracy {metrics['train_accuracy']:.1%}, validation {metrics['val_accuracy']:.1%}"
        speed = f"{metrics['samples_per_second']:.0f} pictures a second"
        print(f"epoch {metrics['epoch']}: {accuracy}, {speed}", file=sys.stderr)


def print_training(result: TrainingResult, as_json: bool) -> None:
    """How a training ended; with torchrun the first process says it."""
    if int(os.environ.get("RANK", "0")) > 0:
        return
    document = asdict(result)
    del document["state"]
    if printed(document, as_json):
        return
    typer.echo("  ".join(f"{key} {value}" for key, value in document.items()))
