"""Commands that train."""

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from commands import BoundaryName, JsonOption, app, environment, print_json
from lab.repair_config import RepairConfig
from models.errors import ModelsError
from models.repairs import ARMS
from models.runs import check_name
from models.shapes import ShapesConfig
from models.small_cnn import SmallCNNConfig
from models.training import TrainingConfig
from models.training import train as start_training

ArmName = StrEnum("ArmName", {name: name for name in ARMS})


@app.command()
def train(
    run: Annotated[str, typer.Option(help="Name of the new run.")],
    dataset: Annotated[str, typer.Option(help="A name, or a folder or zip of pictures.")] = TrainingConfig.dataset,
    arch: Annotated[str, typer.Option(help="Architecture.")] = TrainingConfig.architecture,
    epochs: int = TrainingConfig.epochs,
    seed: int = TrainingConfig.seed,
    batch_size: int = TrainingConfig.batch_size,
    optimizer: str = TrainingConfig.optimizer,
    learning_rate: float = TrainingConfig.learning_rate,
    weight_decay: float = TrainingConfig.weight_decay,
    label_smoothing: float = TrainingConfig.label_smoothing,
    augment: bool = TrainingConfig.augment,
    train_limit: Annotated[int | None, typer.Option(help="Use only so many training pictures.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels; the data set's own if not given.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    position: Annotated[str, typer.Option(help="Shapes: where the object is.")] = ShapesConfig.position,
    color: Annotated[str, typer.Option(help="Shapes: how it is coloured.")] = ShapesConfig.color,
    clutter: Annotated[float, typer.Option(help="Shapes: distracting marks, 0 to 1.")] = ShapesConfig.clutter,
    num_images: Annotated[int, typer.Option(help="Shapes: how many pictures.")] = ShapesConfig.num_images,
    channels: Annotated[str, typer.Option(help="One number per block.")] = ",".join(
        map(str, SmallCNNConfig.channels)
    ),
    kernel_size: int = SmallCNNConfig.kernel_size,
    pooling: str = SmallCNNConfig.pooling,
    blur_size: Annotated[
        int, typer.Option(help="Taps of the blur, where pooling has one.")
    ] = SmallCNNConfig.blur_size,
    padding_mode: str = SmallCNNConfig.padding_mode,
    head: str = SmallCNNConfig.head,
    norm: str = SmallCNNConfig.norm,
    dropout: float = SmallCNNConfig.dropout,
    as_json: JsonOption = False,
) -> None:
    """Train a small network; it is a model named run/NAME afterwards."""
    if not all(part.strip().isdecimal() for part in channels.split(",")):
        raise ModelsError(f"--channels takes whole numbers with commas between them, not {channels!r}.")
    config = TrainingConfig(
        dataset=dataset,
        architecture=arch,
        model={
            "channels": tuple(map(int, channels.split(","))),
            "kernel_size": kernel_size,
            "pooling": pooling,
            "blur_size": blur_size,
            "padding_mode": padding_mode,
            "head": head,
            "norm": norm,
            "dropout": dropout,
        },
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        augment=augment,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device or environment("DEVICE", TrainingConfig.device),
        data_root=environment("DATA_ROOT", "data"),
        image_size=image_size,
        shapes=ShapesConfig(num_images=num_images, position=position, color=color, clutter=clutter),
        train_limit=train_limit,
    )
    run_dir = Path(environment("RUNS_ROOT", "runs")) / check_name(run)
    result = asdict(start_training(config, run_dir, _show_epoch))
    del result["state"]
    if as_json:
        print_json(result)
        return
    typer.echo("  ".join(f"{key} {value}" for key, value in result.items()))


@app.command()
def repair(
    name: Annotated[str, typer.Option(help="Name of the new run; its arms become the models run/NAME-ARM.")],
    start_from: Annotated[str, typer.Option(help="run/NAME, fashion_cnn, or a torchvision ResNet.")],
    dataset: Annotated[str, typer.Option(help="A name, or a folder or zip of pictures.")] = RepairConfig.dataset,
    arm: Annotated[list[ArmName] | None, typer.Option(help="A cure to try; repeat for several.")] = None,
    steps: Annotated[int, typer.Option(help="Training steps of every arm.")] = RepairConfig.steps,
    seed: int = RepairConfig.seed,
    batch_size: int = RepairConfig.batch_size,
    learning_rate: float = RepairConfig.learning_rate,
    blur_size: Annotated[int, typer.Option(help="Taps of the low-pass filter, 2 to 5.")] = RepairConfig.blur_size,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels; the start model's if not given.")] = None,
    limit: Annotated[int | None, typer.Option(help="How many test pictures are shifted.")] = RepairConfig.limit,
    max_shift: Annotated[int, typer.Option(help="Longest shift in pixels.")] = RepairConfig.max_shift,
    shifts: Annotated[int, typer.Option(help="Shifts per picture.")] = RepairConfig.shifts,
    boundary: Annotated[BoundaryName, typer.Option(help="What fills the border.")] = BoundaryName.circular,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Try cures for shift sensitivity: train each a little further and compare them; goes on where it was stopped."""
    from lab.repair import start_here

    config = RepairConfig(
        start_from=start_from,
        dataset=dataset,
        arms=tuple(map(str, arm)) if arm else RepairConfig.arms,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        blur_size=blur_size,
        image_size=image_size,
        limit=limit,
        max_shift=max_shift,
        shifts=shifts,
        boundary=str(boundary),
        data_root=environment("DATA_ROOT", "data"),
        device=device or environment("DEVICE", RepairConfig.device),
    )
    document = start_here(config, Path(environment("RUNS_ROOT", "runs")) / check_name(name))
    if as_json:
        print_json(document)
        return
    for row in document["arms"]:
        accuracy, consistency = (row[key]["value"] for key in ("accuracy", "consistency"))
        figures = f"accuracy {accuracy:.1%}  consistency {consistency:.1%}"
        typer.echo(f"{row['arm']:20} {figures}  worst change of the logits {row['circular_logit_error']:.1e}")


def _show_epoch(metrics: dict) -> None:
    if metrics["kind"] == "epoch":
        accuracy = f"training accuracy {metrics['train_accuracy']:.1%}, validation {metrics['val_accuracy']:.1%}"
        speed = f"{metrics['samples_per_second']:.0f} pictures a second"
        print(f"epoch {metrics['epoch']}: {accuracy}, {speed}", file=sys.stderr)
