"""Commands over whole data sets."""

import json
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.consistency.protocols import PROTOCOLS
from analysis.errors import UserError, no_progress
from commands.app import BoundaryName, JsonOption, app, data_root, environment, make_lab, printed, runs_root
from commands.options import setting_options, takes_options
from lab.evaluation.config import EvaluationConfig
from lab.evaluation.run import evaluate as start_evaluation
from lab.evaluation.run import evaluate_as_run
from models.data.datasets import DATASETS
from models.data.shapes import ShapesConfig
from models.names import describe_skipped, readable_path
from models.runs.run import check_name
from models.training.config import TrainingConfig

if TYPE_CHECKING:
    ProtocolName = str
else:
    ProtocolName = StrEnum("ProtocolName", {name: name for name in PROTOCOLS})


@app.command("data")
def look_at_data(
    dataset: Annotated[str, typer.Argument(metavar="DATA", help=f"{', '.join(DATASETS)}, or a folder or zip.")],
    seed: Annotated[int, typer.Option(help="Of the split, and of what is drawn.")] = TrainingConfig.seed,
    image_size: Annotated[int | None, typer.Option(help="Side in pixels; the data set's own if not given.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Look at a data set before it is trained on: classes, splits, unreadable files, near-duplicates."""
    from lab.data_overview import describe_data

    found = describe_data(dataset, data_root=data_root(), seed=seed, image_size=image_size).to_json()
    if printed(found, as_json):
        return
    image = found["image"]
    sizes = ", ".join(f"{count:,} {split}" for split, count in found["sizes"].items())
    typer.echo(f"{found['name']}: {sizes}; {image['channels']} x {image['height']} x {image['width']}")
    for number, category in enumerate(found["categories"]):
        counts = ", ".join(f"{found['counts'][split][number]:,} {split}" for split in found["counts"])
        typer.echo(f"  {category}: {counts}")
    for warning in found["warnings"]:
        typer.echo(warning)


@app.command()
@takes_options
def evaluate(
    *,
    model: Annotated[list[str], typer.Option("--model", "-m", help="A model's name; again for each further model.")],
    data: Annotated[str, typer.Option(help="fashion_mnist, cifar10, shapes, digits, or a folder or zip.")],
    protocol: Annotated[ProtocolName, typer.Option(help="Whose rule draws the shifts.")] = "exact",
    boundary: Annotated[
        BoundaryName | None, typer.Option(help="What fills the uncovered border; the protocol's own if not given.")
    ] = None,
    settings: Annotated[dict, setting_options(EvaluationConfig)],
    shapes: Annotated[dict, setting_options(ShapesConfig, "position")],
    checks: Annotated[bool, typer.Option(help="Also identities and layer errors on a few pictures.")] = True,
    name: Annotated[str | None, typer.Option(help="Keep everything as a run of this name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure accuracy and shift consistency over a data set, of one or several models."""
    lab = make_lab()
    config = EvaluationConfig(
        models=tuple(model),
        data=readable_path(data),
        protocol=str(protocol),
        boundary=boundary and str(boundary),
        device=lab.device,
        data_root=str(lab.data_root),
        shapes=ShapesConfig(**shapes),
        checks=checks,
        **settings,
    )
    if name is None:
        is_quiet = as_json or int(os.environ.get("RANK", "0")) > 0  # the first of torchrun's processes speaks
        progress = no_progress if is_quiet else _show_chunks
        document = start_evaluation(lab, config, lab.runs_root / ".evaluations", progress)
    else:
        document = evaluate_as_run(lab, config, lab.runs_root / check_name(name))
    if not document or printed(document, as_json):  # without one, another process reports
        return
    for sentence in (*document["data"]["notes"], describe_skipped(document["data"]["skipped"])):
        if sentence:
            typer.echo(sentence)
    for result in document["models"]:
        typer.echo(f"{result['model']}: {result['num_images']} pictures of {document['data']['name']}")
        for note in result["notes"]:
            typer.echo(f"  {note}")
        if published := result["published"]:
            numbers = f"accuracy {published['accuracy']:.4f}, consistency {published['consistency']:.4f}"
            typer.echo(f"  published: {numbers} ({published['source']})")
        for key, estimate in result["statistics"].items():
            if estimate["value"] is not None:
                typer.echo(f"  {key:32} {_show_estimate(estimate)}")
    for pair in document["pairs"]:
        typer.echo(f"{pair['a']} minus {pair['b']}")
        for key in ("accuracy", "consistency"):
            typer.echo(f"  {key:32} {_show_estimate(pair[key])}")


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
    scale: Annotated[float | None, typer.Option(help="Traces, aw: size of the picture as the source has it.")] = None,
    limit: Annotated[int | None, typer.Option(help="Traces: how many pictures.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything drawn.")] = None,
    more: Annotated[
        list[str] | None, typer.Option("--set", help="Another setting as NAME=VALUE (JSON); repeat for several.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run; goes on with the same one if it was broken off.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Repeat a published experiment and set its numbers beside the published ones."""
    from lab.experiments.table import JOB, configure, place_run

    given = {
        "pictures": pictures,
        "repeats": repeats,
        "epochs": epochs,
        "model": model,
        "data": data and readable_path(data),
        "data_root": data and str(data_root()),
        "protocol": protocol,
        "scale": scale,
        "limit": limit,
        "seed": seed,
        "device": environment("DEVICE", "auto"),
    }
    settings = {key: value for key, value in given.items() if value is not None} | _read_settings(more or [])
    config = configure(experiment, settings, full=full)
    document = JOB.start(config, place_run(runs_root(), config, name), _show_measurement)
    if document is None or printed(document, as_json):  # None: stopped, as one of several processes
        return
    for row in document["rows"]:
        typer.echo(_show_row(row))
    for text in (document["note"], document["sentence"]):
        if text:
            typer.echo(text)


def _show_chunks(done: int, total: int) -> None:
    print(f"chunk {done} of {total}", end="\n" if done >= total else "\r", file=sys.stderr)


def _show_estimate(estimate: dict) -> str:
    """Value and interval with four digits."""
    if estimate["value"] is None:
        return "not defined"
    if estimate["low"] is None:
        return f"{estimate['value']:.4f}"
    return f"{estimate['value']:.4f}  [{estimate['low']:.4f}, {estimate['high']:.4f}]"


def _read_settings(assignments: list[str]) -> dict:
    settings = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UserError(f"--set takes NAME=VALUE, not {assignment!r}.")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value  # a word without quotes
    return settings


def _show_measurement(measurement: dict, make_document: Callable[[], dict]) -> None:
    print(_show_row(measurement), file=sys.stderr)


def _show_row(row: dict) -> str:
    cells = ((key, value) for key, value in row.items() if not isinstance(value, list))
    return "  ".join(f"{key} {_show_cell(value)}" for key, value in cells)


def _show_cell(value) -> str:
    """A number, or a mean with its spread."""
    if not isinstance(value, dict):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if value.get("low") is not None:
        return f"{value['mean']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
    return f"{value['mean']:.4f}" + (f" +- {value['std']:.4f}" if "std" in value else "")
