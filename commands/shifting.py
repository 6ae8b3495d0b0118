"""Commands of the shift lab on single pictures: maps of all shifts, layer meters, self-checks."""

import contextlib
import sys
from typing import Annotated

import typer

from analysis.equivariance.meter import count_notes
from analysis.errors import Progress, UserError, no_progress
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
from lab.shifts import check_model, map_all_circular_shifts, map_picture, measure_picture
from models.data.samples import list_samples
from models.registry import DEFAULT_MODEL

TwinOption = Annotated[
    bool, typer.Option("--twin", help="Ask the circular twin: every padded operation wraps around.")
]
BoundaryOption = Annotated[BoundaryName, typer.Option(help="What fills the uncovered border.")]


@app.command("shift-map")
def shift_map(
    image: ImageArgument,
    model: ModelOption = DEFAULT_MODEL,
    max_shift: Annotated[int, typer.Option(help="Network-input pixels in each direction.")] = 8,
    boundary: BoundaryOption = "zero",
    twin: TwinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Predict at every shift up to a limit; with --twin and --boundary circular, all shifts come from one pass."""
    lab = make_lab()
    picture, report = lab.open_image(image), _show("shifts", as_json)
    result = None
    if twin and boundary == "circular":
        with contextlib.suppress(UserError):  # networks that cannot be followed are asked shift by shift
            parts = _show("parts", as_json)
            result = map_all_circular_shifts(lab, picture, model, max_shift, progress=parts, loading=show_download)
    if result is None:
        *_, result = map_picture(
            lab, picture, model, max_shift, str(boundary), twin=twin, progress=report, loading=show_download
        )
    if printed(result.to_json(), as_json):
        return
    shown = result.map
    typer.echo(
        f"{result.category}: kept at {shown.share_kept:.1%} of the shifts, consistency {shown.consistency:.1%}"
    )
    for dy, row in zip(shown.distances, shown.flipped.tolist(), strict=True):
        typer.echo(f"{dy:+4d}  " + "".join("x" if flipped else "." for flipped in row))
    typer.echo(f"rows: dy, columns: dx from {shown.distances[0]} to {shown.distances[-1]}; x: another class")
    print_notes(result.notes)


@app.command()
def meter(
    image: ImageArgument,
    model: ModelOption = DEFAULT_MODEL,
    dx: Annotated[float, typer.Option(help="Network-input pixels to the right.")] = 1.0,
    dy: Annotated[float, typer.Option(help="Network-input pixels down.")] = 0.0,
    boundary: BoundaryOption = "zero",
    twin: TwinOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how well every layer moves along with a picture, and what keeps it from it."""
    lab = make_lab()
    reading = measure_picture(
        lab,
        lab.open_image(image),
        model,
        dx,
        dy,
        str(boundary),
        twin=twin,
        progress=_show("pictures", as_json),
        loading=show_download,
    )
    if printed(reading.to_json(), as_json):
        return
    typer.echo(f"{'layer':36} stride  valid    own  error  unaligned  skill  cause")
    own_errors = {own.name: own.find(dx, dy)[0] for own in reading.own}
    for layer in reading.layers:
        numbers = (layer.valid_fraction, own_errors.get(layer.name), layer.error, layer.unaligned, layer.skill)
        valid, own, error, unaligned, skill = ("-" if number is None else f"{number:.2f}" for number in numbers)
        figures = f"{layer.stride or '-':>6} {valid:>6} {own:>6} {error:>6} {unaligned:>10} {skill:>6}"
        typer.echo(f"{layer.name:36} {figures}  {layer.cause or '-'}")
    for most, size, cause in reading.rank_own()[:1]:
        typer.echo(f"{most.name} brings in the most error of its own, {size:.2f}, because {most.explain(cause)}.")
    for note in count_notes(reading.layers):
        typer.echo(note)
    print_notes(reading.notes)


@app.command("self-check")
def self_check(
    model: ModelOption = DEFAULT_MODEL,
    image: Annotated[str, typer.Option(help="A picture file, or the name of a sample.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Measure the identities that a model must fulfil, with controls that must fail."""
    lab = make_lab()
    picture = lab.open_image(image or _default_sample(lab, model))
    results = check_model(lab, model, picture, progress=_show("identities", as_json), loading=show_download)
    if printed([result.to_json() for result in results], as_json):
        return
    for result in results:
        outcome = {True: "passed", False: "FAILED", None: "-"}[result.passed]
        error = "" if result.error is None else f"{result.error:.1e}"
        typer.echo(f"{result.identity:4} {outcome:7} {error:>8}  {result.title}. {result.note}")


def _default_sample(lab, model: str) -> str:
    """A sample of the kind that the model is for."""
    kind = "garments" if lab.registry.get(model).preprocessing.num_channels == 1 else "photographs"
    return next(sample.name for sample in list_samples().values() if sample.kind == kind)


def _show(what: str, is_quiet: bool) -> Progress:
    if is_quiet:
        return no_progress

    def report(done: int, total: int) -> None:
        print(f"{done} of {total} {what}", end="\n" if done >= total else "\r", file=sys.stderr)

    return report
