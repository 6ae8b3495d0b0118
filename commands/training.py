"""Commands that train."""

import os
import shutil
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.errors import UserError
from commands.app import (
    BoundaryName,
    DeviceOption,
    JsonOption,
    app,
    data_root,
    environment,
    print_training,
    printed,
    runs_root,
    show_epoch,
)
from commands.options import setting_options, takes_options, text_options
from lab.comparisons.repair_config import RepairConfig
from models.data.augment.augment import TRANSFORMS, AugmentConfig
from models.data.datasets import full_path
from models.data.shapes import ShapesConfig
from models.networks.options import list_options
from models.networks.repairs import ARMS
from models.networks.table import ARCHITECTURES
from models.runs.run import check_name
from models.runs.submit import create_run
from models.settings import check_choice
from models.training.config import TrainingConfig
from models.training.run import train as start_training
from models.training.trackers import TRACKERS
from models.training.warm_start import inherit_network

if TYPE_CHECKING:
    ArmName = str
else:
    ArmName = StrEnum("ArmName", {name: name for name in ARMS})


NETWORK_OPTIONS = {
    "channels": "Small CNN: one number per block.",
    "kernel_size": "Where the architecture has it.",
    "pooling": "Where the architecture has it.",
    "blur_size": "Taps of the blur, where pooling has one.",
    "padding_mode": "Where the architecture has it.",
    "head": "Where the architecture has it.",
    "norm": "Where the architecture has it.",
    "dropout": "Where the architecture has it.",
}
"""Options of networks that need no ``--set`` -> what is said of them."""


@app.command()
@takes_options
def train(
    *,
    run: Annotated[str, typer.Option("--name", "--run", help="Name of the new run; under torchrun say --name.")],
    arch: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(ARCHITECTURES)}; {TrainingConfig.architecture} or that of --start-from if not given."
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the architecture, such as width=0.25; repeat.")
    ] = None,
    training: Annotated[dict, setting_options(TrainingConfig)],
    compile_model: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = TrainingConfig.compile,
    augment: Annotated[bool, typer.Option(help="Random changes that suit the data set.")] = False,
    augment_by: Annotated[
        list[str] | None, typer.Option(help=f"NAME=STRENGTH, 0 to 1, out of {', '.join(TRANSFORMS)}; repeat.")
    ] = None,
    device: DeviceOption = None,
    tracker: Annotated[list[str] | None, typer.Option(help=f"{', '.join(TRACKERS)}; repeat.")] = None,
    shapes: Annotated[dict, setting_options(ShapesConfig)],
    network: Annotated[dict, text_options(NETWORK_OPTIONS)],
    find_rate: Annotated[bool, typer.Option("--find-rate", help="Only try learning rates, and suggest one.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a network; it is a model named run/NAME afterwards. `resume NAME` goes on after an interruption."""
    texts = {name: text for name, text in network.items() if text is not None} | _read_pairs("--set", option)
    strengths = {name: _read_number(name, text) for name, text in _read_pairs("--augment-by", augment_by).items()}
    training = inherit_network({**training, "architecture": arch}, runs_root())
    architecture = training["architecture"] or TrainingConfig.architecture
    options = training.get("model", {}) | _read_model_options(architecture, texts)
    training |= {
        "dataset": full_path(training["dataset"]),
        "architecture": architecture,
        "model": options,
        "compile": compile_model,
        "augment": AugmentConfig.from_dict(strengths) if strengths else augment,
        "device": device or environment("DEVICE", TrainingConfig.device),
        "data_root": str(data_root()),
        "shapes": ShapesConfig(**shapes),
        "trackers": tuple(tracker or ()),
    }
    config, run_dir = TrainingConfig(**training), runs_root() / check_name(run)
    if find_rate:
        _find_rate(config, run_dir, as_json)
        return
    print_training(start_training(config, run_dir, show_epoch), as_json)


def _find_rate(config: TrainingConfig, run_dir: Path, as_json: bool) -> None:
    """Tries rates in the place of a training; nothing of it stays in the runs root."""
    from models.training.lr_finder import JOB

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("--find-rate is for one process.")
    create_run(run_dir.parent, run_dir.name, config.to_dict(), "range_test")
    try:
        found = JOB.run(run_dir)
    finally:
        # It is of this process, whatever its files say: on a full disk they go on saying that it waits.
        shutil.rmtree(run_dir, ignore_errors=True)
    if found is None:
        raise UserError("The test of learning rates was stopped.")
    if printed(found.to_json(), as_json):
        return
    if found.suggestion is None:
        typer.echo("the loss never fell: no rate can be suggested for these settings")
        return
    typer.echo(f"suggested: --learning-rate {found.suggestion:g}, where the loss falls fastest")


def _read_pairs(flag: str, pairs: list[str] | None) -> dict[str, str]:
    found = {}
    for pair in pairs or ():
        name, is_pair, text = pair.partition("=")
        if not is_pair:
            raise UserError(f"{flag} takes NAME=VALUE, not {pair[:60]!r}.")
        found[name.strip()] = text.strip()
    return found


def _read_number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{name} must be a number, not {text[:60]!r}.") from None


def _read_model_options(architecture: str, texts: dict[str, str]) -> dict:
    check_choice("--arch", architecture, ARCHITECTURES)
    options = list_options(ARCHITECTURES[architecture][0])
    if texts and not options:
        raise UserError(f"The architecture {architecture} has no options, so {next(iter(texts))} cannot be set.")
    for name in texts:
        check_choice("An option of this architecture", name, options)
    return {name: options[name].parse(name, text) for name, text in texts.items()}


@app.command()
@takes_options
def repair(
    *,
    name: Annotated[str, typer.Option(help="Name of the new run; its arms become the models run/NAME-ARM.")],
    start_from: Annotated[str, typer.Option(help="run/NAME, fashion_cnn, or a torchvision ResNet.")],
    dataset: Annotated[str, typer.Option(help="A name, or a folder or zip of pictures.")] = RepairConfig.dataset,
    arm: Annotated[list[ArmName] | None, typer.Option(help="A cure to try; repeat for several.")] = None,
    settings: Annotated[dict, setting_options(RepairConfig)],
    boundary: Annotated[BoundaryName, typer.Option(help="What fills the border.")] = "circular",
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try cures for shift sensitivity: train each a little further and compare them; goes on where it was stopped."""
    from lab.comparisons.repair import JOB

    config = RepairConfig(
        start_from=start_from,
        dataset=full_path(dataset),
        arms=tuple(map(str, arm)) if arm else RepairConfig.arms,
        boundary=str(boundary),
        data_root=str(data_root()),
        device=device or environment("DEVICE", RepairConfig.device),
        **settings,
    )
    document = JOB.start(config, runs_root() / check_name(name))
    if document is None or printed(document, as_json):  # None: stopped, as one of several processes
        return
    for row in document["arms"]:
        accuracy, consistency = (row[key]["value"] for key in ("accuracy", "consistency"))
        figures = f"accuracy {accuracy:.1%}  consistency {consistency:.1%}"
        typer.echo(f"{row['arm']:20} {figures}  worst change of the logits {row['circular_logit_error']:.1e}")
