"""Commands about single pictures and models."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.attribution.baselines import BASELINES
from analysis.attribution.methods import METHODS
from analysis.errors import UserError
from commands.app import (
    BoundaryName,
    ImageArgument,
    JsonOption,
    ModelOption,
    app,
    make_lab,
    print_notes,
    print_predictions,
    printed,
    show_download,
)
from models.data.decoding.formats import ImageError
from models.data.samples import find_pictures
from models.names import readable_path
from models.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    MethodName = str
else:
    MethodName = StrEnum("MethodName", {name: name for name in METHODS})


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List every model."""
    specs = [spec.summary() for spec in make_lab().registry.list_specs()]
    if printed(specs, as_json):
        return
    for spec in specs:
        place = "here" if spec["cached"] else "download"
        size = f"{spec['num_params'] / 1e6:8.2f} M  {spec['num_classes']:5d} classes  {spec['input_size']:4d} px"
        typer.echo(f"{spec['name']:24} {spec['source']:12} {size}  {place}")


@app.command()
def classify(
    images: Annotated[list[str], typer.Argument(help="Picture files, folders of them, or names of samples.")],
    model: ModelOption = DEFAULT_MODEL,
    top_k: Annotated[int, typer.Option(min=1, max=1000, help="How many classes to show.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Classify pictures; of those that cannot be read it says why, and ends with exit code 2."""
    lab = make_lab()
    rows, num_broken = [], 0
    for path in find_pictures(images):
        shown = readable_path(path)
        try:
            result = lab.classify(lab.open_image(path), model, top_k, show_download).to_json()
        except ImageError as error:
            if len(images) == 1 and path == images[0]:
                raise
            rows.append({"path": shown, "problem": str(error)})
            num_broken += 1
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            continue
        rows.append({"path": shown, **result})
        if not as_json:
            typer.echo(f"{shown}  ({result['ms']:.0f} ms)")
            print_predictions(result["predictions"])
            print_notes(result["notes"])
    printed({"model": model, "images": rows}, as_json)
    if num_broken:
        raise typer.Exit(2)


@app.command()
def shift(
    image: ImageArgument,
    model: ModelOption = DEFAULT_MODEL,
    dx: Annotated[float, typer.Option(help="Network-input pixels to the right; fractions are interpolated.")] = 3,
    dy: Annotated[float, typer.Option(help="Network-input pixels down.")] = 0,
    boundary: Annotated[BoundaryName, typer.Option(help="What fills the uncovered border.")] = "zero",
    twin: Annotated[bool, typer.Option("--twin", help="Ask the circular twin of the model.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Shift a picture and compare predictions and feature maps."""
    lab = make_lab()
    result = lab.shift(lab.open_image(image), model, dx, dy, str(boundary), twin=twin, progress=show_download)
    document = result.to_json()
    if printed(document, as_json):
        return
    for title in ("before", "after"):
        typer.echo(title)
        print_predictions(document[title])
    verdict = (
        "too close to call" if result.near_tie else "the class held" if result.same_top1 else "the class changed"
    )
    typer.echo(f"{verdict}; {result.before[0].category}: {result.probability_change:+.2g}")
    for layer in result.layers:
        error = "nothing to compare" if layer.relative_error is None else f"{layer.relative_error:.2g}"
        typer.echo(f"  {layer.name:32} stride {layer.stride:3d}  relative error {error}")
    print_notes(result.notes)


@app.command()
def explain(
    image: ImageArgument,
    out: Annotated[Path | None, typer.Option(help="Where to write the overlay (PNG).")] = None,
    model: ModelOption = DEFAULT_MODEL,
    method: Annotated[MethodName, typer.Option(help="How to explain.")] = "saliency",
    target: Annotated[str, typer.Option(help="Name or index of a class, or auto for the predicted one.")] = "auto",
    layer: Annotated[str | None, typer.Option(help="Layer for methods that need one; the last if not given.")] = None,
    contrast: Annotated[str | None, typer.Option(help="Two classes, A,B: the score of A minus that of B.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="A parameter of the method, name=number.")] = None,
    baseline: Annotated[
        str | None, typer.Option(help=f"What to compare with: {', '.join(BASELINES)}, or a picture.")
    ] = None,
    raw: Annotated[Path | None, typer.Option(help="Where to write the signed map (npy, (C, H, W)).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which pixels speak for a class."""
    import numpy as np
    from PIL import Image

    from analysis.figures.overlay import render_overlay

    lab = make_lab()
    result = lab.explain(
        lab.open_image(image),
        model,
        str(method),
        None if target == "auto" else target,
        layer,
        loading=show_download,
        options=_read_parameters(str(method), param or []),
        contrast=contrast,
        baseline=baseline if baseline is None or baseline in BASELINES else lab.open_image(baseline),
    )
    values = result.attribution.values
    try:
        if out is not None:
            Image.fromarray(render_overlay(result.pixels, values, sign="positive")).save(out, format="PNG")
        if raw is not None:
            with raw.open("wb") as file:
                np.save(file, values.numpy(), allow_pickle=False)
    except OSError as error:
        place = error.filename or " or ".join(str(path) for path in (out, raw) if path is not None)
        raise UserError(f"The result cannot be written to {place}: {error.strerror}.") from error
    document = {**result.to_json(), "out": None if out is None else str(out)}
    if printed(document, as_json):
        return
    print_notes([*document.pop("notes"), *result.attribution.remarks])
    typer.echo("  ".join(f"{key} {value}" for key, value in document.items() if value is not None))
    if result.attribution.is_flat:
        typer.echo("The map is the same everywhere: this method finds nothing for this class.")


def _read_parameters(method: str, given: list[str]) -> dict[str, float]:
    """``name=number`` of the method's parameters."""
    known = {parameter.name: parameter for parameter in METHODS[method].parameters}
    found = {}
    for text in given:
        name, equals, number = text.partition("=")
        if not equals:
            raise UserError(f"A parameter is name=number, not {text}.")
        METHODS[method].check_options({name: None})
        found[name] = known[name].read(number)
    return found


@app.command()
def methods(model: ModelOption = DEFAULT_MODEL, as_json: JsonOption = False) -> None:
    """List the methods of explain: which work on a model, why not, and the pictures they pass through it."""
    rows = [facts.to_json() for facts in make_lab().methods(model, show_download)]
    if printed(rows, as_json):
        return
    for row in rows:
        cost = f"{row['forwards']:6d} forwards {row['backwards']:5d} backwards"
        typer.echo(f"{row['method']:28} {cost}  {row['reason'] or 'works'}")


@app.command()
def layers(model: ModelOption = DEFAULT_MODEL, as_json: JsonOption = False) -> None:
    """List the layers of a model with shapes, strides and receptive fields."""
    summaries = [layer.summary() for layer in make_lab().layers(model, show_download)]
    if printed(summaries, as_json):
        return
    for row in summaries:
        shape = "x".join(map(str, row["output_shape"]))
        numbers = f"{row['num_params']:9d}  stride {row['stride'] or '-':>3}  sees {row['receptive_field'] or '-':>4}"
        typer.echo(f"{row['name']:36} {row['type']:24} {shape:14} {numbers}")
