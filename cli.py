"""ConvScope without a browser: the same functions, one command each, ``--json`` for machines."""

import json
import os
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer

from analysis.attribution import METHODS
from analysis.errors import AnalysisError
from analysis.shift import BOUNDARIES
from lab import Lab
from models.errors import ModelsError
from models.pretrained import DEFAULT_MODEL
from models.runs import check_name
from models.shapes import ShapesConfig
from models.small_cnn import SmallCNNConfig
from models.training import TrainingConfig
from models.training import train as start_training

app = typer.Typer(
    help=__doc__,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

BoundaryName = StrEnum("BoundaryName", {name: name for name in BOUNDARIES})
MethodName = StrEnum("MethodName", {name: name for name in METHODS})

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
ModelOption = Annotated[str, typer.Option("--model", "-m", help="A name that `models` lists, or run/NAME.")]
ImageArgument = Annotated[str, typer.Argument(help="A picture file, or the name of a sample such as chelsea.")]


def _environment(name: str, default: str) -> str:
    return os.environ.get(f"CONVSCOPE_{name}", default)


def _lab() -> Lab:
    return Lab(
        device=_environment("DEVICE", "auto"),
        data_root=Path(_environment("DATA_ROOT", "data")),
        runs_root=Path(_environment("RUNS_ROOT", "runs")),
    )


def _print_json(document) -> None:
    typer.echo(json.dumps(document, allow_nan=False))


def _show_download(done: int, total: int) -> None:
    end = "\n" if done >= total else "\r"
    print(f"downloading weights: {done / 2**20:.0f} of {total / 2**20:.0f} MB", end=end, file=sys.stderr)


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List every model."""
    specs = [spec.summary() for spec in _lab().registry.list_specs()]
    if as_json:
        _print_json(specs)
        return
    for spec in specs:
        place = "here" if spec["cached"] else "download"
        size = f"{spec['num_params'] / 1e6:8.2f} M  {spec['num_classes']:5d} classes  {spec['input_size']:4d} px"
        typer.echo(f"{spec['name']:24} {spec['source']:12} {size}  {place}")


@app.command()
def classify(
    images: Annotated[list[str], typer.Argument(help="Picture files, or names of samples.")],
    model: ModelOption = DEFAULT_MODEL,
    top_k: Annotated[int, typer.Option(min=1, max=1000, help="How many classes to show.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Classify pictures."""
    lab = _lab()
    results = []
    for path in images:
        result = lab.classify(lab.open_image(path), model, top_k, _show_download)
        results.append({"path": path, **result.to_json()})
    if as_json:
        _print_json({"model": model, "images": results})
        return
    for result in results:
        typer.echo(f"{result['path']}  ({result['ms']:.0f} ms)")
        _print_predictions(result["predictions"])


@app.command()
def shift(
    image: ImageArgument,
    model: ModelOption = DEFAULT_MODEL,
    dx: Annotated[int, typer.Option(help="Network-input pixels to the right.")] = 3,
    dy: Annotated[int, typer.Option(help="Network-input pixels down.")] = 0,
    boundary: Annotated[BoundaryName, typer.Option(help="What fills the uncovered border.")] = BoundaryName.zero,
    as_json: JsonOption = False,
) -> None:
    """Shift a picture and compare predictions and feature maps."""
    lab = _lab()
    result = lab.shift(lab.open_image(image), model, dx, dy, str(boundary), progress=_show_download)
    document = result.to_json()
    if as_json:
        _print_json(document)
        return
    for title in ("before", "after"):
        typer.echo(title)
        _print_predictions(document[title])
    verdict = "the class held" if result.same_top1 else "the class changed"
    typer.echo(f"{verdict}; {result.before[0].category}: {result.probability_change:+.2g}")
    for layer in result.layers:
        error = "nothing to compare" if layer.relative_error is None else f"{layer.relative_error:.2g}"
        typer.echo(f"  {layer.name:32} stride {layer.stride:3d}  relative error {error}")


@app.command()
def explain(
    image: ImageArgument,
    out: Annotated[Path | None, typer.Option(help="Where to write the overlay (PNG).")] = None,
    model: ModelOption = DEFAULT_MODEL,
    method: Annotated[MethodName, typer.Option(help="How to explain.")] = MethodName.saliency,
    target: Annotated[str, typer.Option(help="Class index, or auto for the predicted class.")] = "auto",
    layer: Annotated[str | None, typer.Option(help="Layer for Grad-CAM; the last one if not given.")] = None,
    raw: Annotated[Path | None, typer.Option(help="Where to write the signed map (npy, (C, H, W)).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which pixels speak for a class."""
    import numpy as np
    from PIL import Image

    from analysis.overlay import render_overlay

    try:
        index = None if target == "auto" else int(target)
    except ValueError:
        raise AnalysisError(f"--target is a class index or auto, not {target}.") from None
    lab = _lab()
    result = lab.explain(lab.open_image(image), model, str(method), index, layer, loading=_show_download)
    values = result.attribution.values
    try:
        if out is not None:
            Image.fromarray(render_overlay(result.pixels, values, sign="positive")).save(out, format="PNG")
        if raw is not None:
            with raw.open("wb") as file:
                np.save(file, values.numpy(), allow_pickle=False)
    except OSError as error:
        place = error.filename or " or ".join(str(path) for path in (out, raw) if path is not None)
        raise AnalysisError(f"The result cannot be written to {place}: {error.strerror}.") from error
    document = {**result.to_json(), "out": None if out is None else str(out)}
    if as_json:
        _print_json(document)
        return
    typer.echo("  ".join(f"{key} {value}" for key, value in document.items()))
    if result.attribution.is_flat:
        typer.echo("The map is the same everywhere: this method finds nothing for this class.")


@app.command()
def layers(model: ModelOption = DEFAULT_MODEL, as_json: JsonOption = False) -> None:
    """List the layers of a model with shapes, strides and receptive fields."""
    summaries = [layer.summary() for layer in _lab().layers(model, _show_download)]
    if as_json:
        _print_json(summaries)
        return
    for row in summaries:
        shape = "x".join(map(str, row["output_shape"]))
        numbers = f"{row['num_params']:9d}  stride {row['stride'] or '-':>3}  sees {row['receptive_field'] or '-':>4}"
        typer.echo(f"{row['name']:36} {row['type']:24} {shape:14} {numbers}")


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
        device=device or _environment("DEVICE", TrainingConfig.device),
        data_root=_environment("DATA_ROOT", "data"),
        image_size=image_size,
        shapes=ShapesConfig(num_images=num_images, position=position, color=color, clutter=clutter),
        train_limit=train_limit,
    )
    run_dir = Path(_environment("RUNS_ROOT", "runs")) / check_name(run)
    result = asdict(start_training(config, run_dir, _show_epoch))
    del result["state"]
    if as_json:
        _print_json(result)
        return
    typer.echo("  ".join(f"{key} {value}" for key, value in result.items()))


def _show_epoch(metrics: dict) -> None:
    if metrics["kind"] == "epoch":
        accuracy = f"training accuracy {metrics['train_accuracy']:.1%}, validation {metrics['val_accuracy']:.1%}"
        speed = f"{metrics['samples_per_second']:.0f} pictures a second"
        print(f"epoch {metrics['epoch']}: {accuracy}, {speed}", file=sys.stderr)


def _print_predictions(predictions: list[dict]) -> None:
    for prediction in predictions:
        typer.echo(f"  {prediction['probability']:6.1%}  {prediction['category']}")


def main() -> int:
    """Runs one command; one line on stderr and exit code 2 for whatever the user can put right."""
    try:
        if not sys.argv[1:]:
            raise typer.BadParameter("name a command; --help lists them")
        return app(standalone_mode=False) or 0
    except typer.Exit as error:
        return error.exit_code
    except (typer.TyperException, ModelsError, AnalysisError) as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        return 2
    except torch.OutOfMemoryError:
        print("error: the device has too little memory for this; try a smaller model", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return 130


if __name__ == "__main__":
    sys.exit(main())
