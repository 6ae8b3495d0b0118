"""Commands about what single channels of a model respond to."""

import sys
from typing import Annotated

import typer

from analysis.errors import UserError
from commands.app import JsonOption, ModelOption, app, make_lab, printed, show_download
from models.data.datasets import DATASETS
from models.registry import DEFAULT_MODEL

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


def _show_pictures(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"{done} of {total} pictures", end="\n" if done >= total else "\r", file=sys.stderr)
