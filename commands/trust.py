"""Commands about trust: can these explanations be trusted, for a picture and over many?"""

import sys
from typing import Annotated

import typer

from analysis.attribution.methods import METHODS
from analysis.trust.table import METRICS
from commands.app import (
    BoundaryName,
    ImageArgument,
    JsonOption,
    ModelOption,
    app,
    make_lab,
    print_notes,
    printed,
    show_download,
)
from models.registry import DEFAULT_MODEL

WORTH_SAYING = 10.0
"""Seconds: what takes longer is announced."""
DEFAULT = "saliency,input_x_gradient,guided_backprop,grad_cam"
MethodsOption = Annotated[str, typer.Option(help=f"Names with commas between them: {', '.join(METHODS)}.")]
BoundariesOption = Annotated[
    list[BoundaryName], typer.Option("--boundary", help="What fills the border of shifted pictures; may come again.")
]


@app.command()
def trust(
    image: ImageArgument,
    model: ModelOption = DEFAULT_MODEL,
    methods: MethodsOption = DEFAULT,
    target: Annotated[str, typer.Option(help="Name or index of a class, or auto for the predicted one.")] = "auto",
    boundary: BoundariesOption = ["zero"],  # noqa: B006 (typer reads it, nobody changes it)
    order: Annotated[str, typer.Option(help="Which pixels are removed first: positive or absolute.")] = "positive",
    seed: Annotated[int, typer.Option(help="Of the parts that are covered, the noise and the random weights.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure whether explanations of a picture can be trusted: a row of numbers for each method."""
    from lab.trust.config import TrustSettings
    from lab.trust.picture import measure_trust

    lab = make_lab()
    table = measure_trust(
        lab,
        lab.open_image(image),
        model,
        _split(methods),
        None if target == "auto" else target,
        TrustSettings(boundaries=tuple(map(str, boundary)), order=order, seed=seed),
        loading=show_download,
        tell=_announce,
    )
    if printed(table.rows, as_json):
        return
    print_notes(table.notes)
    typer.echo(f"{table.target.category}, {table.target.probability:.1%}")
    for row in table.rows:
        typer.echo(f"{row['method']}: {row['reason'] or _show_row(row)}")


def _split(methods: str) -> list[str]:
    return [name.strip() for name in methods.split(",") if name.strip()]


def _announce(seconds: float) -> None:
    if seconds > WORTH_SAYING:
        print(f"about {seconds:.0f} seconds", file=sys.stderr)


def _show_row(row: dict) -> str:
    known = [f"{METRICS[name].title.lower()} {row[name]:.3g}" for name in METRICS if row.get(name) is not None]
    return ", ".join(known) + ("" if row["sanity_passes"] is not False else " (fails the sanity check)")
