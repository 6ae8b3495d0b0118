"""Commands about trust: can these explanations be trusted, for a picture and over many?"""

import sys
from typing import Annotated

import typer

from analysis.attribution.methods import METHODS
from analysis.trust.table import METRICS
from commands.app import (
    BoundaryName,
    DeviceOption,
    ImageArgument,
    JsonOption,
    ModelOption,
    app,
    data_root,
    environment,
    make_lab,
    print_notes,
    printed,
    runs_root,
    show_download,
)
from models.data.datasets import DATASETS, full_path
from models.registry import DEFAULT_MODEL
from models.runs.job import ignore
from models.runs.run import check_name
from models.runs.submit import next_name

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
        tell=ignore if as_json else _announce,
    )
    if printed(table.rows, as_json):
        return
    print_notes(table.notes)
    typer.echo(f"{table.target.category}, {table.target.probability:.1%}")
    for row in table.rows:
        typer.echo(f"{row['method']}: {row['reason'] or _show_row(row)}")


@app.command()
def trust_set(
    data: Annotated[str, typer.Option(help=f"{', '.join(DATASETS)}, or a folder or zip.")],
    model: ModelOption = DEFAULT_MODEL,
    methods: MethodsOption = DEFAULT,
    limit: Annotated[int, typer.Option(help="Pictures at most.")] = 100,
    boundary: BoundariesOption = ["zero"],  # noqa: B006 (typer reads it, nobody changes it)
    order: Annotated[str, typer.Option(help="Which pixels are removed first: positive or absolute.")] = "positive",
    seed: Annotated[int, typer.Option(help="Of the pictures that are chosen, and of whatever is drawn.")] = 0,
    name: Annotated[str | None, typer.Option(help="Name of the run; a stopped one goes on.")] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the same over many pictures: means with 95 % intervals, as a run that goes on where it was stopped."""
    from lab.trust.config import TrustConfig
    from lab.trust.over_set import JOB

    config = TrustConfig(
        model=model,
        data=full_path(data),
        methods=tuple(_split(methods)),
        boundaries=tuple(map(str, boundary)),
        order=order,
        limit=limit,
        seed=seed,
        device=device or environment("DEVICE", "auto"),
        data_root=str(data_root()),
    )
    make_lab().models.fetch(model, show_download)
    run_dir = runs_root() / check_name(name or next_name(runs_root(), "trust"))
    document = JOB.start(config, run_dir, ignore if as_json else _show_picture)
    if document is None or printed(document, as_json):  # None: stopped, as one of several processes
        return
    for row in document["rows"]:
        known = [f"{METRICS[name].title.lower()} {_show_estimate(row[name])}" for name in METRICS if name in row]
        typer.echo(f"{row['method']}: {row['reason'] or ', '.join(known)}")


def _show_picture(done: int, total: int, seconds: float | None) -> None:
    left = "" if not seconds else f", about {seconds:.0f} seconds left"
    print(f"{done} of {total} pictures{left}", file=sys.stderr)


def _show_estimate(estimate: dict) -> str:
    if estimate["value"] is None:
        return "-"
    ends = "" if estimate["low"] is None else f" [{estimate['low']:.3g}, {estimate['high']:.3g}]"
    return f"{estimate['value']:.3g}{ends}"


def _split(methods: str) -> list[str]:
    return [name.strip() for name in methods.split(",") if name.strip()]


def _announce(seconds: float) -> None:
    if seconds > WORTH_SAYING:
        print(f"about {seconds:.0f} seconds", file=sys.stderr)


def _show_row(row: dict) -> str:
    known = [f"{METRICS[name].title.lower()} {row[name]:.3g}" for name in METRICS if row.get(name) is not None]
    return ", ".join(known) + ("" if row["sanity_passes"] is not False else " (fails the sanity check)")
