"""Files of a run: capsule, report and ONNX to take away, and a capsule to bring back as a run."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from analysis.errors import Progress, UserError
from models.registry import RUN_PREFIX
from models.runs.run import Run
from ui.services import Services
from ui.train.results.run_actions import check_chosen
from ui.widgets.downloads import MadeFile
from ui.widgets.errors import clears_on_errors
from ui.widgets.events import PRIVATE, Block
from ui.widgets.html import sentence_html

VIEW = "run-files"


@dataclass(frozen=True)
class RunFile:
    """A table entry: a file that is made of a run.

    ``write`` puts it at a path and returns what it is; ``can_be_made`` says of which runs.
    """

    title: str
    ending: str
    doing: str
    write: Callable[[Services, Run, Path, Progress], str]
    can_be_made: Callable[[Run], bool]


@dataclass(frozen=True)
class RunDownloads:
    """The part of the page.

    Attributes:
        outputs: The buttons, usable or not, and what is said about the file made last.
        show: Gives their values for a run, and whether it is another one than before.
    """

    outputs: list[Block]
    show: Callable[[Run, bool], tuple]


def build_run_downloads(services: Services, run: gr.Dropdown) -> RunDownloads:
    """Lays out the files of the chosen run and wires them."""
    with gr.Row(elem_classes="controls"):
        buttons = {
            kind: gr.Button(file.title, size="md", min_width=130, elem_id=f"runs-{kind}")
            for kind, file in FILES.items()
        }
    made = MadeFile(services, "runs")
    for kind, button in buttons.items():
        made.wire(button, FILES[kind].doing, _maker(services, FILES[kind]), run)

    def show(chosen: Run, is_other: bool) -> tuple:
        usable = [gr.update(interactive=file.can_be_made(chosen)) for file in FILES.values()]
        return *usable, *(made.forget() if is_other else (gr.skip(), gr.skip()))

    return RunDownloads([*buttons.values(), *made.outputs], show)


def build_capsule_upload(services: Services, run: gr.Dropdown, changed: gr.State) -> gr.events.Dependency:
    """Lays out what takes a capsule, and wires it; returns the event of a run that came in.

    Args:
        services: The lab and what goes with it.
        run: Gets the new run.
        changed: Told of it, as ``(None, name, moment)``.
    """
    # Of any kind: a dialog that greys out what is no zip would not say why.
    upload = gr.UploadButton("Open a capsule (zip)", size="md", min_width=180, elem_id="runs-upload", scale=0)
    note = gr.HTML(elem_id="runs-incoming")

    @clears_on_errors(lambda _: (gr.skip(), gr.skip(), ""))
    def open_capsule(path: str | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple:
        """Makes a run out of a capsule, and chooses it."""
        from models.training.capsule import unpack_capsule

        if not path:
            raise UserError("Choose the zip of a capsule first.")
        with services.watch(request, progress, "Opening the capsule", VIEW) as report:
            report(0, 2)
            name = unpack_capsule(path, services.jobs.runs_root)
        names = [found.name for found in services.jobs.list("training")]
        text = f"The capsule is the run {name} now, and its model is {RUN_PREFIX}{name}."
        return gr.update(choices=names, value=name), (None, name, time.time_ns()), sentence_html(text, "good")

    return upload.upload(open_capsule, upload, [run, changed, note], show_progress_on=note, **PRIVATE)


def _maker(services: Services, file: RunFile) -> Callable[[str | None, Progress], tuple[Path, str]]:
    def make(name: str | None, report: Progress) -> tuple[Path, str]:
        run = services.jobs.read(check_chosen(name))
        path = services.new_file(f"{run.name}{file.ending}")
        return path, file.write(services, run, path, report)

    return make


def _capsule_writer(pictures: bool) -> Callable[[Services, Run, Path, Progress], str]:
    def write(services: Services, run: Run, path: Path, report: Progress) -> str:
        from lab.runs.report import write_capsule

        write_capsule(run, path, pictures=pictures, progress=report)
        extra = "with the pictures that it keeps" if pictures else "without pictures"
        return f"settings, data hash, metrics, weights, report and reproduce.py of {run.name}, {extra}."

    return write


def _write_report(services: Services, run: Run, path: Path, report: Progress) -> str:
    from lab.runs.report import build_run_report

    path.write_text(build_run_report(run.path), encoding="utf-8", errors="replace")
    return f"one page about {run.name}, to read, print or hand in."


def _write_onnx(services: Services, run: Run, path: Path, report: Progress) -> str:
    from models.onnx_export import export_onnx

    with services.lab.models.use(f"{RUN_PREFIX}{run.name}") as loaded:
        report(1, 3)
        found = export_onnx(loaded.module, loaded.spec.preprocessing, path, categories=loaded.spec.categories)
    return (
        f"takes {found.input_name} {_format_shape(found.input_shape)} in [0, 1]; its logits differ from PyTorch's "
        f"by at most {found.max_difference:.1e}, in logits of up to {found.max_logit:.2g}."
    )


def _format_shape(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _is_finished(run: Run) -> bool:
    return run.state == "finished"


_PACKING = "Packing the capsule"
FILES = {
    "capsule": RunFile("Capsule (zip)", ".zip", _PACKING, _capsule_writer(False), _is_finished),
    "capsule-pictures": RunFile(
        "Capsule with pictures", "-with-pictures.zip", _PACKING, _capsule_writer(True), _is_finished
    ),
    "report": RunFile(
        "Report (HTML)", ".html", "Writing the report", _write_report, lambda run: run.state != "damaged"
    ),
    "onnx": RunFile("ONNX", ".onnx", "Exporting to ONNX", _write_onnx, lambda run: run.has_model),
}
