"""Commands about features: made by hand or learned, of pictures and of sounds."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.errors import UserError, no_progress
from analysis.features.classifiers import CLASSIFIERS
from analysis.features.kinds import KINDS
from commands.app import DeviceOption, JsonOption, app, data_root, environment, printed, runs_root
from models.data.datasets import DATASETS, full_path
from models.runs.run import check_name
from models.runs.submit import next_name

if TYPE_CHECKING:
    KindName = str
    ClassifierName = str
else:
    KindName = StrEnum("KindName", {name: name for name in KINDS})
    ClassifierName = StrEnum("ClassifierName", {name: name for name in CLASSIFIERS})


@app.command()
def features(
    data: Annotated[str, typer.Option(help=f"{', '.join(DATASETS)}, or a folder or zip.")],
    kind: Annotated[KindName | None, typer.Option(help="Which features; else all, and three networks.")] = None,
    classifier: Annotated[ClassifierName, typer.Option(help="What decides from them.")] = "linear",
    limit: Annotated[int, typer.Option(help="Pictures to learn from at most, and to be tested on.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the split, and of whatever is drawn.")] = 0,
    name: Annotated[
        str | None, typer.Option(help="Of everything: name of the run; its networks become run/NAME-mlp and so on.")
    ] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify by features made by hand: accuracy with its interval, seconds, and how shifts change the answer."""
    from lab.learning.compare_features import JOB, FeaturesConfig, name_row
    from lab.learning.features import measure_features, set_exam

    if kind is not None and name is not None:
        raise UserError("A single kind of features makes no run: leave --name out, or --kind.")
    root = data_root()
    if kind is not None:
        exam = set_exam(data, str(root), limit, seed)
        (measured,) = measure_features(exam, str(kind), [str(classifier)], no_progress if as_json else _show_share)
        if not printed(measured.summary(), as_json):
            typer.echo(_show_row(name_row(measured.to_json()), measured.to_json()))
        return
    config = FeaturesConfig(
        dataset=full_path(data),
        limit=limit,
        seed=seed,
        device=device or environment("DEVICE", "auto"),
        data_root=str(root),
    )
    run_dir = runs_root() / check_name(name or next_name(runs_root(), "features"))
    document = JOB.start(config, run_dir, _show_new_row)
    if document is None or printed(document, as_json):  # None: stopped, as one of several processes
        return
    for row in document["rows"]:
        typer.echo(_show_row(name_row(row), row))
    typer.echo(document["sentence"])


@app.command()
def sound(
    recording: Annotated[Path | None, typer.Argument(help="A WAV file; one made here if not given.")] = None,
    seed: Annotated[int, typer.Option(help="Of the network, and of what is made here.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Look for a word in a recording: with a network that listens at one place, and with the same slid over time."""
    from lab.learning.sound import find_detector, open_recording, scan_recording, scan_word

    detector, measured = find_detector(seed)
    accuracy = measured.to_json()
    scan = (
        scan_word(detector, "word", seed)
        if recording is None
        else scan_recording(detector, open_recording(recording))
    )
    place = len(scan.places) // 2
    document = scan.to_json(place) | {"accuracy": accuracy}
    if printed(document, as_json):
        return
    typer.echo(f"listening at one place: {'yes' if document['fixed'] else 'no'}")
    found = document["found_seconds"]
    typer.echo(f"slid over the recording: {f'yes, from {found[0]:.2f} to {found[1]:.2f} s' if found else 'no'}")
    typer.echo(
        f"of new recordings, right at the place of the training {accuracy['there']:.1%}, "
        f"elsewhere {accuracy['elsewhere']:.1%}; slid, wherever the word is, {accuracy['anywhere']:.1%}"
    )


def _show_share(done: int, total: int) -> None:
    print(f"{100 * done // total} %", end="\n" if done >= total else "\r", file=sys.stderr)


def _show_new_row(row: dict) -> None:
    from lab.learning.compare_features import name_row

    print(_show_row(name_row(row), row), file=sys.stderr)


def _show_row(name: str, row: dict) -> str:
    accuracy, consistency = _show_estimate(row["accuracy"]), _show_estimate(row["consistency"])
    return f"{name}: accuracy {accuracy}, same after shifts {consistency}, {row['seconds']:.1f} s"


def _show_estimate(estimate: dict) -> str:
    ends = "" if estimate["low"] is None else f" [{estimate['low']:.4f}, {estimate['high']:.4f}]"
    return f"{estimate['value']:.4f}{ends}"
