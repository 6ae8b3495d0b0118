"""Files of a run: capsule, report and ONNX to take away, and a capsule to bring back as a run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from markupsafe import Markup

from analysis.errors import Progress, UserError
from models.registry import RUN_PREFIX
from models.runs.run import Run
from ui.services import Services
from ui.train.results.run_actions import check_chosen
from ui.widgets.downloads import MadeFile
from ui.widgets.events import Block, Values
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


class RunDownloads:
    """The files of the chosen run.

    Attributes:
        outputs: The buttons, usable or not, and what is said about the file made last.
    """

    def __init__(self, services: Services, run: gr.Dropdown):
        with gr.Row(elem_classes="controls"):
            self._buttons = {
                kind: gr.Button(file.title, size="md", min_width=130, elem_id=f"runs-{kind}")
                for kind, file in FILES.items()
            }
        self._made = MadeFile(services, "runs")
        for kind, button in self._buttons.items():
            self._made.wire(button, FILES[kind].doing, _maker(services, FILES[kind]), run)
        self.outputs: list[Block] = [*self._buttons.values(), *self._made.outputs]

    def show(self, chosen: Run, is_other: bool) -> Values:
        """The values for a run, and whether it is another one than before."""
        updates: Values = {
            button: gr.update(interactive=chosen.is_own and FILES[kind].can_be_made(chosen))
            for kind, button in self._buttons.items()
        }
        if is_other:
            updates |= zip(self._made.outputs, self._made.forget(), strict=True)
        return updates


class CapsuleUpload:
    """What takes a capsule.

    Attributes:
        upload: The button.
        note: What came of it.
    """

    def __init__(self, services: Services):
        # Of any kind: a dialog that greys out what is no zip would not say why.
        self._services = services
        self.upload = gr.UploadButton(
            "Open a capsule (zip)", size="md", min_width=180, elem_id="runs-upload", scale=0
        )
        self.note = gr.HTML(elem_id="runs-incoming")

    def open(self, path: str | None, request: gr.Request, progress: gr.Progress) -> str:
        """Makes a run out of a capsule; gives its name.

        Raises:
            UserError: It is none.
        """
        if not path:
            raise UserError("Choose the zip of a capsule first.")
        with self._services.watch(request, progress, "Opening the capsule", VIEW) as report:
            report(0, 2)
            return self._services.jobs.open_capsule(Path(path))

    def describe(self, name: str) -> Markup:
        """What a capsule has become."""
        return sentence_html(
            f"The capsule is the run {name} now, chosen above, and its model is {RUN_PREFIX}{name}.", "good"
        )


def _maker(services: Services, file: RunFile) -> Callable[[str | None, Progress], tuple[Path, str]]:
    def make(name: str | None, report: Progress) -> tuple[Path, str]:
        run = services.jobs.read(check_chosen(name)).check_own()
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
