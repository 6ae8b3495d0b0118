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
from analysis.errors import AnalysisError, no_progress
from analysis.protocols import PROTOCOLS
from analysis.shift import BOUNDARIES
from lab import Lab
from lab.evaluation import evaluate as start_evaluation
from lab.evaluation import evaluate_as_run
from lab.evaluation_config import EvaluationConfig
from lab.repair_config import RepairConfig
from models.errors import ModelsError
from models.pretrained import DEFAULT_MODEL
from models.repairs import ARMS
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
ProtocolName = StrEnum("ProtocolName", {name: name for name in PROTOCOLS})
ArmName = StrEnum("ArmName", {name: name for name in ARMS})
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
def evaluate(
    model: Annotated[list[str], typer.Option("--model", "-m", help="A model's name; again for each further model.")],
    data: Annotated[str, typer.Option(help="fashion_mnist, cifar10, shapes, or a folder or zip of class folders.")],
    protocol: Annotated[ProtocolName, typer.Option(help="Whose rule draws the shifts.")] = ProtocolName.exact,
    boundary: Annotated[
        BoundaryName | None, typer.Option(help="What fills the uncovered border; the protocol's own if not given.")
    ] = None,
    max_shift: Annotated[int | None, typer.Option(help="Pixels; the protocol's own if not given.")] = None,
    shifts: Annotated[int, typer.Option(help="Exact: shifts drawn per picture.")] = EvaluationConfig.shifts,
    per_image: Annotated[bool, typer.Option(help="Zhang, aps: draw for each picture, not per batch.")] = False,
    scale: Annotated[float | None, typer.Option(help="Aw: size of the picture as the source defines it.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use only so many pictures.")] = None,
    seed: int = EvaluationConfig.seed,
    twin: Annotated[bool, typer.Option(help="Let every padded layer wrap around.")] = False,
    batch_size: Annotated[int, typer.Option(help="Windows in one forward pass.")] = EvaluationConfig.batch_size,
    threads: Annotated[int | None, typer.Option(help="CPU threads of each process; all cores if not given.")] = None,
    position: Annotated[str, typer.Option(help="Shapes: where the object is.")] = ShapesConfig.position,
    split_seed: Annotated[int, typer.Option(help="Shapes: the seed of the training.")] = EvaluationConfig.split_seed,
    checks: Annotated[bool, typer.Option(help="Also identities and layer errors on a few pictures.")] = True,
    name: Annotated[str | None, typer.Option(help="Keep everything as a run of this name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure accuracy and shift consistency over a data set, of one or several models."""
    lab = _lab()
    config = EvaluationConfig(
        models=tuple(model),
        data=data,
        protocol=str(protocol),
        boundary=boundary and str(boundary),
        max_shift=max_shift,
        shifts=shifts,
        per_image=per_image,
        scale=scale,
        limit=limit,
        seed=seed,
        twin=twin,
        batch_size=batch_size,
        threads=threads,
        device=lab.device,
        data_root=str(lab.data_root),
        shapes=ShapesConfig(position=position),
        split_seed=split_seed,
        checks=checks,
    )
    if name is None:
        progress = no_progress if as_json else _show_chunks
        document = start_evaluation(lab, config, lab.runs_root / ".evaluations", progress)
    else:
        document = evaluate_as_run(lab, config, lab.runs_root / check_name(name))
    if not document:  # another process reports
        return
    if as_json:
        _print_json(document)
        return
    for result in document["models"]:
        typer.echo(f"{result['model']}: {result['num_images']} pictures of {document['data']['name']}")
        for note in result["notes"]:
            typer.echo(f"  {note}")
        for key, estimate in result["statistics"].items():
            if estimate["value"] is not None:
                typer.echo(f"  {key:32} {_show_estimate(estimate)}")
    for pair in document["pairs"]:
        typer.echo(f"{pair['a']} minus {pair['b']}")
        for key in ("accuracy", "consistency"):
            typer.echo(f"  {key:32} {_show_estimate(pair[key])}")


def _show_chunks(done: int, total: int) -> None:
    print(f"chunk {done} of {total}", end="\n" if done >= total else "\r", file=sys.stderr)


def _show_estimate(estimate: dict) -> str:
    """Value and interval with four digits."""
    if estimate["value"] is None:
        return "not defined"
    if estimate["low"] is None:
        return f"{estimate['value']:.4f}"
    return f"{estimate['value']:.4f}  [{estimate['low']:.4f}, {estimate['high']:.4f}]"


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
        data_root=_environment("DATA_ROOT", "data"),
        device=device or _environment("DEVICE", RepairConfig.device),
    )
    document = start_here(config, Path(_environment("RUNS_ROOT", "runs")) / check_name(name))
    if as_json:
        _print_json(document)
        return
    for row in document["arms"]:
        accuracy, consistency = (row[key]["value"] for key in ("accuracy", "consistency"))
        figures = f"accuracy {accuracy:.1%}  consistency {consistency:.1%}"
        typer.echo(f"{row['arm']:20} {figures}  worst change of the logits {row['circular_logit_error']:.1e}")


@app.command()
def experiment(
    experiment: Annotated[str, typer.Argument(help="red_green, location_bias or traces.")],
    pictures: Annotated[
        list[str] | None, typer.Argument(help="Traces: picture files, names of samples, or folders of pictures.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The sizes of the publication, which take long.")] = False,
    repeats: Annotated[int | None, typer.Option(help="Networks of each kind.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of each training.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Traces: which model.")] = None,
    data: Annotated[str | None, typer.Option(help="Traces: a labelled set, as for evaluate.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Traces: diag33 or aw.")] = None,
    limit: Annotated[int | None, typer.Option(help="Traces: how many pictures.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything drawn.")] = None,
    more: Annotated[
        list[str] | None, typer.Option("--set", help="Another setting as NAME=VALUE (JSON); repeat for several.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Repeat a published experiment and set its numbers beside the published ones."""
    from lab.experiments import configure, run_job, start_run

    given = {
        "pictures": pictures,
        "repeats": repeats,
        "epochs": epochs,
        "model": model,
        "data": data,
        "data_root": data and _environment("DATA_ROOT", "data"),
        "protocol": protocol,
        "limit": limit,
        "seed": seed,
        "device": _environment("DEVICE", "auto"),
    }
    settings = {key: value for key, value in given.items() if value is not None} | _read_settings(more or [])
    config = configure(experiment, settings, full=full)
    document = run_job(start_run(_environment("RUNS_ROOT", "runs"), config, name), _show_measurement)
    if as_json:
        _print_json(document)
        return
    for row in document["rows"]:
        cells = ((key, value) for key, value in row.items() if not isinstance(value, list))
        typer.echo("  ".join(f"{key} {_show_cell(value)}" for key, value in cells))
    typer.echo(document["sentence"])


def _read_settings(assignments: list[str]) -> dict:
    settings = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ModelsError(f"--set takes NAME=VALUE, not {assignment!r}.")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value  # a word without quotes
    return settings


def _show_measurement(document: dict) -> None:
    done = len(document["measurements"])
    print(f"{done} measured in {document['seconds']:.0f} s", file=sys.stderr)


def _show_cell(value) -> str:
    """A number, or a mean with its spread."""
    if not isinstance(value, dict):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if value.get("low") is not None:
        return f"{value['mean']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
    return f"{value['mean']:.4f}" + (f" +- {value['std']:.4f}" if "std" in value else "")


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
