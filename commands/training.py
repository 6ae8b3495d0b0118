"""Commands that train."""

import os
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from analysis.errors import UserError
from commands.app import (
    BoundaryName,
    JsonOption,
    app,
    data_root,
    environment,
    print_json,
    print_training,
    runs_root,
    show_epoch,
)
from lab.comparisons.repair_config import RepairConfig
from models.data.augment.augment import SHIFT_AUGMENTS, TRANSFORMS, AugmentConfig
from models.data.datasets import DATASETS, full_path
from models.data.shapes import MAX_OCCLUSION, ShapesConfig
from models.networks.options import list_options
from models.networks.repairs import ARMS
from models.networks.table import ARCHITECTURES
from models.runs.run import check_name, create_run
from models.settings import check_choice
from models.training.config import TrainingConfig
from models.training.optimization import LOSSES, OPTIMIZERS, SCHEDULES
from models.training.precision import PRECISIONS
from models.training.run import train as start_training
from models.training.trackers import TRACKERS
from models.training.warm_start import inherit_network

ArmName = StrEnum("ArmName", {name: name for name in ARMS})


@app.command()
def train(
    run: Annotated[str, typer.Option("--name", "--run", help="Name of the new run; under torchrun say --name.")],
    dataset: Annotated[str, typer.Option(help=f"{', '.join(DATASETS)}, or a folder or zip of pictures.")] = (
        TrainingConfig.dataset
    ),
    arch: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(ARCHITECTURES)}; {TrainingConfig.architecture} or that of --start-from if not given."
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the architecture, such as width=0.25; repeat.")
    ] = None,
    epochs: int = TrainingConfig.epochs,
    max_steps: Annotated[int | None, typer.Option(help="Instead of epochs.")] = None,
    seed: int = TrainingConfig.seed,
    batch_size: int = TrainingConfig.batch_size,
    optimizer: Annotated[str, typer.Option(help=", ".join(OPTIMIZERS))] = TrainingConfig.optimizer,
    learning_rate: Annotated[float, typer.Option(help="Its peak.")] = TrainingConfig.learning_rate,
    schedule: Annotated[str, typer.Option(help=", ".join(SCHEDULES))] = TrainingConfig.schedule,
    weight_decay: Annotated[float, typer.Option(help="L2.")] = TrainingConfig.weight_decay,
    l1: Annotated[float, typer.Option(help="Strength of an L1 penalty.")] = TrainingConfig.l1,
    loss: Annotated[str, typer.Option(help=", ".join(LOSSES))] = TrainingConfig.loss,
    label_smoothing: float = TrainingConfig.label_smoothing,
    clip_norm: Annotated[float | None, typer.Option(help="Longest gradient.")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without progress.")] = None,
    accumulate: Annotated[int, typer.Option(help="Compute each batch in so many parts.")] = TrainingConfig.accumulate,
    precision: Annotated[str, typer.Option(help=", ".join(PRECISIONS))] = TrainingConfig.precision,
    compile_model: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = TrainingConfig.compile,
    augment: Annotated[bool, typer.Option(help="Random changes that suit the data set.")] = False,
    augment_by: Annotated[
        list[str] | None, typer.Option(help=f"NAME=STRENGTH, 0 to 1, out of {', '.join(TRANSFORMS)}; repeat.")
    ] = None,
    shift_augment: Annotated[
        str, typer.Option(help=f"Move each picture, up to an eighth of its side: {', '.join(SHIFT_AUGMENTS)}.")
    ] = TrainingConfig.shift_augment,
    label_noise: Annotated[float, typer.Option(help="Share of wrong labels.")] = TrainingConfig.label_noise,
    train_limit: Annotated[int | None, typer.Option(help="Use only so many training pictures.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Divides (and draws) the data instead of --seed.")] = None,
    start_from: Annotated[
        str | None,
        typer.Option(help="Weights to begin with, run/NAME or fashion_cnn; its network's options if none are given."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side in pixels; if not given, that of --start-from or the data set's own.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    snapshots: Annotated[bool, typer.Option(help="Keep weights on the way, for the time slider.")] = (
        TrainingConfig.snapshots
    ),
    snapshot_every: Annotated[int | None, typer.Option(help="Keep them every so many steps.")] = None,
    tracker: Annotated[list[str] | None, typer.Option(help=f"{', '.join(TRACKERS)}; repeat.")] = None,
    position: Annotated[str, typer.Option(help="Shapes: where the object is.")] = ShapesConfig.position,
    color: Annotated[str, typer.Option(help="Shapes: how it is coloured.")] = ShapesConfig.color,
    clutter: Annotated[float, typer.Option(help="Shapes: distracting marks, 0 to 1.")] = ShapesConfig.clutter,
    occlusion: Annotated[float, typer.Option(help=f"Shapes: hidden, 0 to {MAX_OCCLUSION}.")] = ShapesConfig.occlusion,
    min_size: Annotated[float, typer.Option(help="Shapes: smallest, in sides.")] = ShapesConfig.min_size,
    max_size: Annotated[float, typer.Option(help="Shapes: largest, in sides.")] = ShapesConfig.max_size,
    num_images: Annotated[int, typer.Option(help="Shapes: how many pictures.")] = ShapesConfig.num_images,
    channels: Annotated[str | None, typer.Option(help="Small CNN: one number per block.")] = None,
    kernel_size: Annotated[str | None, typer.Option(help="Where the architecture has it.")] = None,
    pooling: Annotated[str | None, typer.Option(help="Where the architecture has it.")] = None,
    blur_size: Annotated[str | None, typer.Option(help="Taps of the blur, where pooling has one.")] = None,
    padding_mode: Annotated[str | None, typer.Option(help="Where the architecture has it.")] = None,
    head: Annotated[str | None, typer.Option(help="Where the architecture has it.")] = None,
    norm: Annotated[str | None, typer.Option(help="Where the architecture has it.")] = None,
    dropout: Annotated[str | None, typer.Option(help="Where the architecture has it.")] = None,
    find_rate: Annotated[bool, typer.Option("--find-rate", help="Only try learning rates, and suggest one.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a network; it is a model named run/NAME afterwards. `resume NAME` goes on after an interruption."""
    named = {
        "channels": channels,
        "kernel_size": kernel_size,
        "pooling": pooling,
        "blur_size": blur_size,
        "padding_mode": padding_mode,
        "head": head,
        "norm": norm,
        "dropout": dropout,
    }
    texts = {name: text for name, text in named.items() if text is not None} | _read_pairs("--set", option)
    strengths = {name: _read_number(name, text) for name, text in _read_pairs("--augment-by", augment_by).items()}
    network = inherit_network({"start_from": start_from, "architecture": arch, "image_size": image_size}, runs_root())
    architecture = network["architecture"] or TrainingConfig.architecture
    config = TrainingConfig(
        dataset=full_path(dataset),
        architecture=architecture,
        model=network.get("model", {}) | _read_model_options(architecture, texts),
        epochs=epochs,
        max_steps=max_steps,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        schedule=schedule,
        weight_decay=weight_decay,
        l1=l1,
        loss=loss,
        label_smoothing=label_smoothing,
        clip_norm=clip_norm,
        patience=patience,
        accumulate=accumulate,
        precision=precision,
        compile=compile_model,
        augment=AugmentConfig.from_dict(strengths) if strengths else augment,
        label_noise=label_noise,
        seed=seed,
        device=device or environment("DEVICE", TrainingConfig.device),
        data_root=str(data_root()),
        image_size=network["image_size"],
        shapes=ShapesConfig(
            num_images=num_images,
            position=position,
            color=color,
            clutter=clutter,
            min_size=min_size,
            max_size=max_size,
            occlusion=occlusion,
        ),
        train_limit=train_limit,
        start_from=start_from,
        shift_augment=shift_augment,
        split_seed=split_seed,
        snapshots=snapshots,
        snapshot_every=snapshot_every,
        trackers=tuple(tracker or ()),
    )
    run_dir = runs_root() / check_name(run)
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
    if as_json:
        print_json(found.to_json())
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
    from lab.comparisons.repair import JOB

    config = RepairConfig(
        start_from=start_from,
        dataset=full_path(dataset),
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
        data_root=str(data_root()),
        device=device or environment("DEVICE", RepairConfig.device),
    )
    document = JOB.start(config, runs_root() / check_name(name))
    if as_json:
        print_json(document)
        return
    for row in document["arms"]:
        accuracy, consistency = (row[key]["value"] for key in ("accuracy", "consistency"))
        figures = f"accuracy {accuracy:.1%}  consistency {consistency:.1%}"
        typer.echo(f"{row['arm']:20} {figures}  worst change of the logits {row['circular_logit_error']:.1e}")
