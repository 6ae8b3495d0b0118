"""Commands on runs: list, go on, rename, note, delete, pack and open again; and a model as an ONNX file."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from commands.app import JsonOption, app, make_lab, print_training, printed, runs_root, show_download, show_epoch
from lab.jobs import JobManager
from models.runs.queue import jobs_before
from models.runs.run import delete_run, list_runs, read_run

RunArgument = Annotated[str, typer.Argument(metavar="NAME", help="A run that `runs` lists.")]


@app.command()
def resume(name: RunArgument, as_json: JsonOption = False) -> None:
    """Go on with a training that was stopped or killed, as if nothing had happened."""
    from models.training.run import resume as resume_training

    run = read_run(runs_root(), name)
    print_training(resume_training(run.path, show_epoch), as_json)


@app.command()
def runs(as_json: JsonOption = False) -> None:
    """List all runs, newest first; `before` counts the jobs before one that waits, `silence` is for one at work."""
    everything = list_runs(runs_root())
    found: list[dict[str, Any]] = [
        {
            "name": run.name,
            "kind": run.kind,
            "state": run.state,
            "before": jobs_before(run, everything),
            "message": run.message,
            "silence": run.silence,
            "result": run.result,
        }
        for run in everything
    ]
    if printed(found, as_json):
        return
    for run in found:
        accuracy = (run["result"] or {}).get("test_accuracy")
        shown = f"test accuracy {accuracy:.1%}" if isinstance(accuracy, float) else ""
        shown = f"{run['before']} before it" if run["before"] else run["silence"] or shown
        typer.echo(f"{run['name']:30} {run['kind']:10} {run['state']:10} {shown} {run['message']}".rstrip())


@app.command()
def stop(name: RunArgument) -> None:
    """Ask a run, of whatever kind, to end after its current step; `resume` goes on with a training."""
    JobManager(runs_root()).stop(name)


@app.command()
def kill(name: RunArgument) -> None:
    """End a run's process at once."""
    JobManager(runs_root()).kill(name)


@app.command()
def rename(old: RunArgument, new: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Give a run, and with it its model, another name."""
    from models.runs.changes import rename_run

    rename_run(runs_root(), old, new)
    typer.echo(f"{old} is now {new}")


@app.command()
def note(name: RunArgument, text: Annotated[str, typer.Argument(help="Takes the place of what was there.")]) -> None:
    """Write a note beside a run."""
    from models.runs.changes import write_notes

    write_notes(runs_root(), name, text)


@app.command()
def publish(
    name: RunArgument, undo: Annotated[bool, typer.Option("--undo", help="Show it to visitors no longer.")] = False
) -> None:
    """Show a run, and its model, to the visitors of the page; its files stay the owner's."""
    JobManager(runs_root()).publish(name, not undo)


@app.command()
def delete(name: RunArgument) -> None:
    """Remove a run and its model for good."""
    delete_run(runs_root(), name)


@app.command()
def capsule(
    name: RunArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="The zip to write.")],
    pictures: Annotated[bool, typer.Option(help="Add the pictures that the run keeps.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Pack a finished training as one zip: settings, data hash, metrics, weights, report, reproduce.py."""
    from lab.runs.report import write_capsule

    run = read_run(runs_root(), name)
    path = write_capsule(run, out, pictures=pictures)
    num_bytes = path.stat().st_size
    if printed({"run": run.name, "path": str(path), "num_bytes": num_bytes}, as_json):
        return
    typer.echo(f"{path}: {num_bytes / 1e6:.1f} MB")


@app.command("open-capsule")
def open_capsule(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A zip that `capsule` wrote.")],
    name: Annotated[str | None, typer.Option(help="Of the run; its old name if not given.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a finished run, and a model run/NAME, out of a capsule."""
    from models.training.capsule import unpack_capsule

    run = unpack_capsule(file, runs_root(), name)
    if printed({"run": run, "model": f"run/{run}"}, as_json):
        return
    typer.echo(f"the model is run/{run}")


@app.command("export-onnx")
def export_onnx(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name that `models` lists, or run/NAME.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The file to write.")],
    as_json: JsonOption = False,
) -> None:
    """Write a model as an ONNX file that takes pixels in [0, 1], checked against PyTorch with onnxruntime."""
    from models.onnx_export import export_onnx as write_onnx

    with make_lab().models.use(model, show_download) as loaded:
        report = write_onnx(loaded.module, loaded.spec.preprocessing, out, categories=loaded.spec.categories)
    if printed(asdict(report), as_json):
        return
    typer.echo(
        f"{report.path}: {report.num_bytes / 1e6:.1f} MB, opset {report.opset}, {report.input_name} "
        f"{list(report.input_shape)}; logits differ from PyTorch's by at most {report.max_difference:.1e}"
    )
