"""Commands of the lecture: convolutions, stacks of layers, losses and receptive fields, by numbers."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from torch import Tensor

from analysis.convolution.convolve import PADDING_MODES
from analysis.convolution.pooling import POOLINGS
from analysis.convolution.presets import PRESETS
from analysis.convolution.quiz import KINDS, list_notes
from analysis.errors import UserError
from analysis.losses.classification import LOSSES
from commands.app import JsonOption, ModelOption, app, make_lab, print_notes, printed, show_download
from lab.learning.claim import SECTIONS
from lab.learning.claims import CLAIMS, check_claim, describe_claim, describe_verdict
from lab.learning.convolution import ask_all, convolve_numbers, measure_layers, pool_numbers, read_input
from lab.learning.lessons import check_lesson, read_lesson
from lab.learning.losses import measure_losses
from lab.learning.receptive_field import MOST_PICTURES, measure_field
from models.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    PaddingName = str
    PresetName = str
    LossName = str
    PoolingName = str
    QuestionName = str
else:
    PaddingName = StrEnum("PaddingName", {name: name for name in PADDING_MODES})
    PresetName = StrEnum("PresetName", {name: name for name in PRESETS})
    PoolingName = StrEnum("PoolingName", {name: name for name in POOLINGS})
    QuestionName = StrEnum("QuestionName", {name: name for name in KINDS})
    LossName = StrEnum("LossName", {name: name for name in LOSSES})

MOST_COLUMNS = 24
"""Wider grids are not printed for people."""


@app.command()
def convolve(
    image: Annotated[
        str | None, typer.Argument(help="A picture file or sample, taken as grey values 0 to 255.")
    ] = None,
    grid: Annotated[str | None, typer.Option(help="Numbers instead, such as '[[1,2],[3,4]]'.")] = None,
    signal: Annotated[str | None, typer.Option(help="A row of numbers instead, such as '[1,2,3]'.")] = None,
    kernel: Annotated[str, typer.Option(help="Numbers such as '[[1,0,-1]]', or a name such as sobel_x.")] = "mean",
    stride: Annotated[int, typer.Option(help="Cells from one place of the kernel to the next.")] = 1,
    padding: Annotated[int, typer.Option(help="Cells added on each side.")] = 0,
    padding_mode: Annotated[PaddingName, typer.Option(help="What is added.")] = "zeros",
    dilation: Annotated[int, typer.Option(help="Cells from one number of the kernel to the next.")] = 1,
    groups: Annotated[int, typer.Option(help="Groups of channels that see nothing of each other.")] = 1,
    flip: Annotated[bool, typer.Option("--flip", help="True convolution: turn the kernel round first.")] = False,
    transposed: Annotated[
        bool, typer.Option("--transposed", help="Spread each cell over the kernel instead.")
    ] = False,
    side: Annotated[int | None, typer.Option(help="Reduce the picture to this longer side first.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Slide a kernel over a grid of numbers, a signal or a picture; what deep learning calls convolution."""
    lab = make_lab()
    result = convolve_numbers(
        read_input(None if image is None else lab.open_image(image), grid, signal, side),
        kernel,
        stride=stride,
        padding=padding,
        padding_mode=str(padding_mode),
        dilation=dilation,
        groups=groups,
        flip=flip,
        transposed=transposed,
    )
    document = result.to_json()
    if printed(document, as_json):
        return
    _print_numbers(result.output)
    typer.echo(f"size: {document['formula']}")
    if document["dropped"]:
        typer.echo(f"no window looks at {len(document['dropped'])} cells of the input")
    typer.echo(document["code"])


@app.command()
def pool(
    image: Annotated[
        str | None, typer.Argument(help="A picture file or sample, taken as grey values 0 to 255.")
    ] = None,
    grid: Annotated[str | None, typer.Option(help="Numbers instead, such as '[[1,2],[3,4]]'.")] = None,
    kind: Annotated[PoolingName, typer.Option(help="How to pool.")] = "max",
    window: Annotated[int, typer.Option(help="Side of the window in cells.")] = 2,
    stride: Annotated[
        int | None, typer.Option(help="Cells from one window to the next; its side if not given.")
    ] = None,
    side: Annotated[int | None, typer.Option(help="Reduce the picture to this longer side first.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Pool a grid of numbers or a picture; says what a shift of one cell changes, and whether it is linear."""
    lab = make_lab()
    values = read_input(None if image is None else lab.open_image(image), grid, side=side)
    result = pool_numbers(values, str(kind), window, stride)
    document = result.to_json()
    if printed(document, as_json):
        return
    _print_numbers(result.shift.before[0])
    typer.echo(
        f"one cell to the right changes it by {document['change']:.1%}, its mean by {document['mean_change']:.1%}"
    )
    typer.echo(f"pooled sum and sum of pooled differ by {document['nonlinearity']:.4g} at most")
    typer.echo(document["code"])


@app.command()
def stack(
    input_shape: Annotated[
        str | None, typer.Option("--input", help="Channels,height,width, such as 3,32,32.")
    ] = None,
    layers: Annotated[str | None, typer.Option(help="Such as 'conv(6,5) relu pool(2) flatten linear(10)'.")] = None,
    preset: Annotated[PresetName | None, typer.Option(help="A known stack instead.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what each layer of a stack makes, costs and sees."""
    known = PRESETS[str(preset)] if preset else None
    text = layers or (known.text if known else "")
    shape = input_shape or (",".join(map(str, known.shape)) if known else "")
    if not text or not shape:
        raise UserError("Say the layers with --layers and the picture with --input C,H,W, or name a --preset.")
    rows = measure_layers(shape, text)
    if printed([row.to_json() for row in rows], as_json):
        return
    typer.echo(f"{'layer':34} {'shape':>14} {'parameters':>12} {'multiply-adds':>14}  sees: before, picture")
    for row in rows:
        made, sees = "x".join(map(str, row.shape)), (row.receptive_field_previous, row.receptive_field_input)
        typer.echo(f"{row.layer:34} {made:>14} {row.parameters:12,d} {row.macs:14,d} {sees[0]:12d} {sees[1]:8d}")
    total, macs = (sum(getattr(row, name) for row in rows) for name in ("parameters", "macs"))
    typer.echo(f"{'in all':49} {total:12,d} {macs:14,d}")


@app.command()
def quiz(
    kind: Annotated[QuestionName | None, typer.Option(help="What to ask for; all kinds if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Another one asks about other stacks.")] = 0,
    notes: Annotated[bool, typer.Option("--notes", help="The questions of the lecture notes instead.")] = False,
    answer: Annotated[str | None, typer.Option(help="An answer such as 28x28x6 to --kind, to be checked.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask about stacks of layers: sizes, parameters, receptive fields; with the worked solutions."""
    if answer is not None and (notes or kind is None):
        raise UserError("An answer belongs to one question: name its --kind and --seed.")
    questions = list_notes() if notes else ask_all(seed, [str(kind)] if kind else KINDS)
    right = {} if answer is None else {"right": questions[0].is_right(answer)}
    if printed([question.to_json() | right for question in questions], as_json):
        return
    for question in questions:
        if right:
            typer.echo("right" if right["right"] else "wrong")
        typer.echo(f"{question.text}\n  {' x '.join(map(str, question.answer))}")
        typer.echo("  " + question.solution.replace("\n", "\n  "))


@app.command()
def loss(
    scores: Annotated[str, typer.Option(help="A row of scores for each example, such as '[[3.2,5.1,-1.7]]'.")],
    labels: Annotated[
        str, typer.Option(help="The right class of each, from 0 on; for kl also rows of probabilities.")
    ],
    kind: Annotated[LossName, typer.Option(help="Which loss.")] = "softmax",
    as_json: JsonOption = False,
) -> None:
    """Measure a loss of scores by hand, row by row, with the gradient of each row's own loss."""
    result = measure_losses(scores, labels, str(kind))
    if printed(result.to_json(), as_json):
        return
    typer.echo(f"{LOSSES[str(kind)].title}: {LOSSES[str(kind)].formula}")
    shown = {"exp": result.exponentials, "softmax": result.probabilities, "gradient": result.gradient}
    for number, value in enumerate(result.losses.tolist()):
        typer.echo(f"row {number}: loss {value:.4g}" + (", flat: no gradient" if result.is_flat[number] else ""))
        for name, values in shown.items():
            typer.echo(f"  {name:10}" + " ".join(f"{number:10.4g}" for number in values[number].tolist()))


@app.command("receptive-field")
def receptive_field(
    image: Annotated[str, typer.Option(help="A picture file, or the name of a sample such as chelsea.")] = "chelsea",
    model: ModelOption = DEFAULT_MODEL,
    layer: Annotated[
        str | None, typer.Option(help="A feature map that `layers` lists; the last one if not given.")
    ] = None,
    row: Annotated[int | None, typer.Option(help="Of the unit in the map; the middle one if not given.")] = None,
    column: Annotated[int | None, typer.Option(help="The same.")] = None,
    channel: Annotated[int | None, typer.Option(help="One channel; all together if not given.")] = None,
    pictures: Annotated[int, typer.Option(help="The gradient is taken over it and as many samples less one.")] = (
        MOST_PICTURES
    ),
    as_json: JsonOption = False,
) -> None:
    """Show what a unit of a layer can see, and what really moves it: sides in pixels of the network's input."""
    lab = make_lab()
    cell = None if row is None and column is None else (row or 0, column or 0)
    picture = lab.open_image(image)
    field = measure_field(lab, picture, model, layer, cell, channel, num_pictures=pictures, loading=show_download)
    document = field.to_json()
    if printed(document, as_json):
        return
    height, width = field.layer.size
    can = (
        "a window that is not fixed"
        if document["theoretical"] is None
        else f"{document['theoretical']} pixels a side"
    )
    typer.echo(f"{field.layer.name}: the unit at row {field.cell[0]}, column {field.cell[1]} of {height} x {width}")
    typer.echo(
        f"can see {can} around row {field.centre[0]:g}, column {field.centre[1]:g}; stride {field.layer.stride}"
    )
    typer.echo(f"is moved by as much as {field.effective:.1f} pixels a side (over {field.num_pictures} pictures)")
    print_notes(field.notes)


def _print_numbers(values: Tensor) -> None:
    """A grid or a row as it is, or of what is larger its ends."""
    output = values if values.ndim > 1 else values[None]
    if output.ndim == 2 and output.shape[1] <= MOST_COLUMNS:
        for row in output.tolist():
            typer.echo(" ".join(f"{number:8.4g}" for number in row))
    else:
        typer.echo(f"{output.numel()} numbers from {output.min():.4g} to {output.max():.4g}; --json prints them")


@app.command()
def lesson(
    file: Annotated[Path, typer.Argument(help="A lesson, see docs/lessons.md.")],
    check: Annotated[bool, typer.Option("--check", help="Compute all answers, and say what does not hold.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read a lesson; with --check, compute the answers to its questions."""
    read = read_lesson(file)
    found = check_lesson(make_lab(), read) if check else []
    wrong = [number for number, _, holds in found if not holds]
    answers = [{"step": number, "answer": text, "holds": holds} for number, text, holds in found]
    document = {"title": read.title, "minutes": read.minutes, "steps": len(read.steps), "answers": answers}
    if not printed(document, as_json):
        typer.echo(f"{read.title}: {len(read.steps)} steps, {read.minutes} minutes")
        for number, text, holds in found:
            typer.echo(f"step {number}: {'' if holds else 'DOES NOT HOLD: '}{text}")
    if wrong:
        raise UserError(f"{file.name}: {len(wrong)} of {len(found)} answers do not hold.")


@app.command()
def claim(
    name: Annotated[str | None, typer.Argument(help="Of the claim; without one, all are listed.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Check all of them, one after the other.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a claim of the lecture: each number that is claimed beside the one that is found, and the verdict."""
    if name is None and not every:
        if not printed([describe_claim(each) for each in CLAIMS], as_json):
            _list_claims()
        return
    if name is not None and every:
        raise UserError("Name one claim, or check --all of them.")
    lab, documents = make_lab(), []
    for each in CLAIMS if name is None else [name]:
        documents.append(check_claim(lab, each).to_json())
        if not as_json:
            _print_claim(documents[-1])
    printed(documents if every else documents[0], as_json)


def _list_claims() -> None:
    for section, title in SECTIONS.items():
        typer.echo(title)
        for name, each in CLAIMS.items():
            if each.section == section:
                typer.echo(f"  {name:20} {each.title}{' (trained networks)' if each.command else ''}")


def _print_claim(document: dict) -> None:
    typer.echo(f"{document['name']}: {document['claim']}")
    for fact in document["facts"]:
        agrees = {True: "agrees", False: "does not agree", None: "open"}[fact["holds"]]
        typer.echo(f"  {fact['what']}: claimed {fact['claimed']}, found {fact['found']}: {agrees}")
    if document["note"]:
        typer.echo(f"  {document['note']}")
    typer.echo(f"  {describe_verdict(document)}")
    command = CLAIMS[document["name"]].command
    if command and document["verdict"] == "open":
        typer.echo(f"  First run: {command}")
