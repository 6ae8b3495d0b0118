"""Commands about what single channels of a model respond to."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.channels.embedding import PROJECTIONS
from analysis.errors import UserError, explained
from commands.app import JsonOption, ModelOption, app, make_lab, printed, show_download
from models.data.datasets import DATASETS
from models.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    ProjectionName = str
else:
    ProjectionName = StrEnum("ProjectionName", {name: name for name in PROJECTIONS})
DataOption = Annotated[str, typer.Option(help=f"samples, {', '.join(DATASETS)}, or a folder or zip.")]


@app.command()
def patches(
    layer: Annotated[str, typer.Option(help="A layer with a feature map; `layers` lists them.")],
    data: DataOption = "samples",
    model: ModelOption = DEFAULT_MODEL,
    channel: Annotated[int | None, typer.Option(help="Only this one; all if not given.")] = None,
    limit: Annotated[int, typer.Option(help="Pictures to look at, at even distances in the test split.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Find the patches of a data set that each channel of a layer answers to most, in one pass."""
    from lab.channels.patches import find_patches

    found = find_patches(make_lab(), model, layer, data, limit, progress=_show_pictures, loading=show_download)
    assert found is not None
    num_channels = len(found.strongest.values)
    if channel is not None and not 0 <= channel < num_channels:
        raise UserError(f"{found.layer.name} has the channels 0 to {num_channels - 1}, not {channel}.")
    document = found.to_json(None if channel is None else [channel])
    if printed(document, as_json):
        return
    for row in document["channels"]:
        typer.echo(f"channel {row['channel']}")
        for patch in row["patches"]:
            box = ",".join(map(str, patch["box"]))
            typer.echo(f"  {patch['value']:10.4g}  {patch['name']}  cell {patch['cell']}  pixels {box}")


@app.command()
def embed(
    data: DataOption = "samples",
    model: ModelOption = DEFAULT_MODEL,
    limit: Annotated[int, typer.Option(help="Pictures to place, at even distances in the test split.")] = 1000,
    method: Annotated[ProjectionName, typer.Option(help="How to get from many numbers to two.")] = "pca",
    shifts: Annotated[bool, typer.Option("--shifts", help="Also ask under four shifts: five times as long.")] = False,
    seed: Annotated[int, typer.Option(help="Of t-SNE.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Where to write the chart (HTML).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Place the pictures of a data set by what the last layer of a model reads of them."""
    from lab.channels.embedding import embed_pictures

    found = embed_pictures(
        make_lab(),
        model,
        data,
        limit,
        str(method),
        shifts=shifts,
        seed=seed,
        progress=_show_pictures,
        loading=show_download,
    )
    document = found.to_json()
    if out is not None:
        from analysis.figures.embedding import plot_embedding

        chart = plot_embedding(found.points, found.labels, found.predicted, found.names)
        with explained(f"The chart cannot be written to {out}"):
            out.write_text(chart.to_html(include_plotlyjs=True), encoding="utf-8")
    if printed(document, as_json):
        return
    known = [point["right"] for point in document["points"] if point["right"] is not None]
    right = f", {sum(known)} of {len(known)} right" if known else ""
    typer.echo(f"{len(document['points'])} pictures, {document['num_features']} features each{right}")
    for point in document["points"]:
        typer.echo(f"{point['x']:10.4g} {point['y']:10.4g}  {point['name']}  {point['predicted']}")


@app.command()
def maximise(
    out: Annotated[Path, typer.Option(help="Where to write the picture (PNG).")],
    model: ModelOption = DEFAULT_MODEL,
    target: Annotated[str | None, typer.Option("--class", help="Name or index of a class; or else")] = None,
    layer: Annotated[str | None, typer.Option(help="a layer with a feature map, and")] = None,
    channel: Annotated[int | None, typer.Option(help="a channel of it.")] = None,
    steps: Annotated[int, typer.Option(help="Of the optimisation.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the noise that it begins with.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Make a picture from noise that a class or a channel answers to as much as it can."""
    from PIL import Image

    from analysis.figures.drawing import draw_pixels
    from lab.channels.maximise import make_picture

    found = make_picture(
        make_lab(),
        model,
        target=target,
        layer=layer,
        channel=channel,
        steps=steps,
        seed=seed,
        progress=_show_steps,
        loading=show_download,
    )
    with explained(f"The picture cannot be written to {out}"):
        Image.fromarray(draw_pixels(found.made.pixels)).save(out, format="PNG")
    document = found.to_json() | {"out": str(out)}
    if not printed(document, as_json):
        typer.echo(f"{found.target}: from {found.made.before:.4g} to {found.made.after:.4g}, {out}")


def _show_steps(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"{done} of {total} steps", end="\n" if done >= total else "\r", file=sys.stderr)


def _show_pictures(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"{done} of {total} pictures", end="\n" if done >= total else "\r", file=sys.stderr)
