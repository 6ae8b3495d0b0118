"""The command that compares matched arms."""

import json
from pathlib import Path
from typing import Annotated

import typer

from analysis.errors import UserError
from analysis.grammar import count
from commands.app import DeviceOption, JsonOption, app, data_root, environment, printed, runs_root
from lab.comparisons.claims import PRESETS, configure_preset
from lab.comparisons.sentences import MEASURES
from lab.comparisons.variations import VARIATIONS, vary
from models.data.datasets import full_path
from models.runs.run import check_name
from models.settings import build_config
from models.training.config import TrainingConfig
from models.training.warm_start import inherit_network

MAX_BASE_BYTES = 2**20


@app.command()
def arms(
    name: Annotated[str, typer.Option(help="Name of the run; its networks become the models run/NAME-ARM-SEED.")],
    preset: Annotated[str | None, typer.Option(help=f"A claim: {', '.join(PRESETS)}.")] = None,
    variation: Annotated[
        str | None, typer.Option("--vary", help=f"NAME=V1,V2,... out of {', '.join(VARIATIONS)}.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="JSON with settings of the training that all arms share, or a file with it.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="A name, or a folder or zip of pictures.")] = None,
    seeds: Annotated[int | None, typer.Option(help="How often each arm is trained.")] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train networks that differ in one thing, with the same data and seeds; goes on where it was stopped."""
    from lab.comparisons.run import JOB

    settings = {"data_root": str(data_root()), "device": environment("DEVICE", "auto")}
    settings |= _read_base(base) | {key: v for key, v in {"dataset": dataset, "device": device}.items() if v}
    if isinstance(settings.get("dataset"), str):
        settings["dataset"] = full_path(settings["dataset"])
    settings = inherit_network(settings, runs_root())
    if preset is not None and variation is None:
        config = configure_preset(preset, seeds, settings)
    elif preset is not None or variation is None:
        raise UserError("Give either --preset or --vary, which say what to compare.")
    else:
        varied, is_pair, values = variation.partition("=")
        if not is_pair:
            raise UserError(f"--vary takes NAME=V1,V2,..., not {variation[:60]!r}.")
        number = {} if seeds is None else {"seeds": seeds}
        config = vary(build_config(TrainingConfig, settings), varied.strip(), values.split(","), **number)
    document = JOB.start(config, runs_root() / check_name(name))
    if document is None or printed(document, as_json):  # None: stopped, as one of several processes
        return
    for row in document["rows"]:
        typer.echo(f"{row['title']}: {row['parameters']:,} parameters, {count(row['n'], 'seed')}")
        for key, measure in MEASURES.items():
            if row[key] is not None:
                typer.echo(f"  {measure.title:38} {measure.show_estimate(row[key])}")
    for network in document["networks"]:
        if network["state"] == "failed":
            typer.echo(f"{network['run']} failed: {network['message']}")
    for text in (document["sentence"], document["also"]):
        if text:
            typer.echo(text)


def _read_base(text: str | None) -> dict:
    """The settings of --base: JSON itself, or a file with it.

    Raises:
        UserError: It is neither.
    """
    if text is None:
        return {}
    try:
        if not text.lstrip().startswith("{"):
            with Path(text).open("rb") as file:
                text = file.read(MAX_BASE_BYTES).decode()
        found = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--base is neither JSON nor a file with JSON ({type(error).__name__}).") from None
    if not isinstance(found, dict):
        raise UserError("--base must be a table of settings.")
    return found
