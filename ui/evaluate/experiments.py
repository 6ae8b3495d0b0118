"""Published experiments, one click each: the table grows while the networks are trained."""

from collections.abc import Callable, Sequence

import gradio as gr

from analysis.consistency.traces import PATHS
from analysis.errors import UserError
from lab.documents import read_document, read_rows
from lab.experiments.table import EXPERIMENTS, configure
from lab.own_pictures import list_folders
from models.data.samples import list_samples
from models.runs.run import Run
from ui.evaluate.experiment_tables import show_rows
from ui.services import Services
from ui.widgets.chart import Chart
from ui.widgets.downloads import ResultFiles
from ui.widgets.events import Values
from ui.widgets.html import explain_lack, explain_this, note_html, sentence_html
from ui.widgets.job_view import JobView, Result, describe_time
from ui.widgets.own_data import find_own_data
from ui.workbench import Workbench

PICTURES = {"The picture on the left": "one", "All sample photographs": "samples"}
EMPTY = "No experiment yet. Click one above: rows appear as they are measured, beside the published numbers."


def build_experiments_panel(services: Services, bench: Workbench) -> JobView:
    """Lays out the panel and wires it."""
    with gr.Row(elem_classes="controls"):
        full = gr.Checkbox(
            False, label="Full size", info="As published, which takes long", elem_id="experiment-full", min_width=200
        )
        source = gr.Dropdown(
            [*PICTURES.items()],
            value="one",
            label="Pictures for traces",
            elem_id="experiment-pictures",
            min_width=220,
        )
        path = gr.Dropdown(
            [(title, name) for name, title in PATHS.items()], value="diag33", label="Trace", min_width=260
        )
    explain_lack("owner")
    with gr.Row(elem_classes="controls"):
        buttons = {
            name: gr.Button(experiment.title, elem_id=f"experiment-{name}", min_width=260)
            for name, experiment in EXPERIMENTS.items()
        }
    times = gr.HTML(elem_id="experiment-times")
    view = JobView(services, "experiment", EMPTY, lambda: _build_result(services))

    def fit(values: Values) -> Values:
        folders = ((f"Folder {name}", name) for name in list_folders(services.lab.data_root))
        offered = gr.update(choices=[*PICTURES.items(), *folders])
        return {times: note_html(tell_times(services.jobs.list())), source: offered}

    view.fitted, view.fit = [times, source], fit
    explain_this("\n\n".join(f"**{e.title}.** {e.explanation}" for e in EXPERIMENTS.values()))

    def starter(experiment: str) -> Callable:
        def begin(values: Values) -> str:
            """Starts the experiment in the background."""
            settings = {"device": services.lab.models.device.type}
            if experiment == "traces":
                image = bench.find_picture(values)
                settings |= {"model": values[bench.model], "protocol": values[path]}
                settings |= _find_pictures(services, values[source], image)
            config = configure(experiment, settings, full=values[full])
            return services.jobs.start_program("experiment", config.to_dict(), experiment)

        return begin

    for name, button in buttons.items():
        view.wire_start(button, starter(name), {bench.model, *bench.picture, full, source, path})
    return view


def tell_times(runs: Sequence[Run]) -> str:
    """How long each experiment took here the last time, as far as it ended; ``runs`` are newest first."""
    took: dict[str, str] = {}
    for run in runs:
        experiment, seconds = EXPERIMENTS.get(str(run.config.get("experiment"))), run.result_number("seconds")
        if run.kind != "experiment" or run.state != "finished" or run.is_opened or not experiment or not seconds:
            continue
        settings = run.config.get("settings")
        is_full = isinstance(settings, dict) and experiment.full.items() <= settings.items()
        name = experiment.title.partition(":")[0] + (", full size," if is_full else "")
        took.setdefault(name, f"{name} took {describe_time(seconds)}")
    if not took:
        return "How long one takes on this machine is known once it has run here; while it runs, it says so itself."
    return f"On this machine {'; '.join(took.values())}."


def _find_pictures(services: Services, source: str, image: str | None) -> dict:
    """What the traces are made of: the picture of the workbench, samples, or a labelled folder of the data root."""
    if source == "one":
        if image is None:
            raise UserError("Choose a picture on the left first.")
        return {"pictures": [str(image)]}
    if source == "samples":
        return {"pictures": [sample.name for sample in list_samples().values() if sample.kind == "photographs"]}
    return {"data": find_own_data(services, None, source)}


def _build_result(services: Services) -> Result:
    finding = gr.HTML(elem_id="experiment-finding")
    plot = Chart(visible=False, elem_id="experiment-plot")
    files = ResultFiles(services, "experiment", {"json": "Everything (JSON)"})

    def show(run: Run | None) -> tuple:
        rows = read_rows(run) if run else []
        found = read_document(run) if run else None
        if not run or not rows:
            return "", gr.update(value=None, visible=False), *files.withdraw()
        table, figure = show_rows(str(run.config.get("experiment")), rows)
        note = note_html(str((found or {}).get("note") or ""))
        html = sentence_html(str(run.status.get("sentence") or "")) + table + note
        offered = files.withdraw() if found is None else files.offer(run.name, json=found)
        return html, gr.update(value=figure, visible=figure is not None), *offered

    return [finding, plot, *files.outputs], show
