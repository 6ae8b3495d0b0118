"""How a training goes: what it is at, and its curves, live."""

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from analysis.figures.training import plot_accuracy, plot_layers, plot_learning_rate, plot_loss, plot_throughput
from models.runs.run import UNFINISHED, Run
from ui.services import Services
from ui.widgets.errors import hide_paths
from ui.widgets.events import QUICK, Panel, Update, Values
from ui.widgets.html import empty_html, format_count, join_html, list_html, progress_html, sentence_html
from ui.widgets.job_view import count_before, describe_wait

WATCH_SECONDS = 1.0
NO_RUN = "No training yet. Click an example above, or choose settings and start: curves appear here within seconds."
TONES = {"finished": "good", "failed": "bad", "damaged": "bad"}
EXTRA_CURVES = {
    "rate": lambda run, steps: plot_learning_rate(run.metrics, steps),
    "speed": lambda run, steps: plot_throughput(run.metrics, steps),
    "weights": lambda run, steps: plot_layers(run.metrics, "weight_norm"),
    "gradients": lambda run, steps: plot_layers(run.metrics, "gradient_norm"),
    "dead": lambda run, steps: plot_layers(run.metrics, "dead"),
    "saturated": lambda run, steps: plot_layers(run.metrics, "saturated"),
}
"""Charts that are folded away."""


def build_curves_panel(services: Services, run: gr.Dropdown) -> Panel:
    """Lays out the panel and wires it.

    Args:
        services: The lab and what goes with it.
        run: The dropdown with the name of the run.
    """
    status = gr.HTML(empty_html(NO_RUN), elem_id="train-status")
    with gr.Column(visible=False) as curves:
        with gr.Row():
            main = [
                gr.Plot(show_label=False, elem_id=f"train-{kind}", min_width=300) for kind in ("loss", "accuracy")
            ]
        with gr.Accordion("Learning rate, speed and layers", open=False), gr.Row():
            extra = [
                gr.Plot(show_label=False, elem_id=f"train-{kind}", min_width=400, visible=False)
                for kind in EXTRA_CURVES
            ]
    with gr.Accordion("Log", open=False):
        log = gr.Textbox(show_label=False, lines=8, max_lines=16, interactive=False, container=False)
    timer, seen = gr.Timer(WATCH_SECONDS, active=False), gr.State(None)
    outputs = [status, curves, *main, *extra, log, seen]

    def show(name: str | None, last: object) -> Values:
        """A run as it is now; nothing while nothing changes."""
        try:
            current = services.jobs.read(name) if name else None
            before = count_before(services, current) if current else 0
        except UserError as error:
            return nothing(str(error), last)
        if current is None:
            return nothing(NO_RUN, last)
        version = [name, current.state, current.message, before, len(current.metrics), current.silence]
        return {} if version == last else dict(zip(outputs, (*_show(current, before), version), strict=True))

    def nothing(reason: str, last: object) -> Values:
        if last == reason:
            return {}
        no_charts = dict.fromkeys([*main, *extra])
        return no_charts | {status: empty_html(reason), curves: gr.update(visible=False), log: "", seen: reason}

    def watch(name: str | None, last: object) -> Values | Update:
        """Shows a run as it is now."""
        return show(name, last) or gr.skip()

    timer.tick(watch, [run, seen], outputs, **QUICK)
    return Panel(
        lambda values: show(values[run], None) | {timer: gr.update(active=True)}, [run], [*outputs, timer], [timer]
    )


def _show(run: Run, before: int) -> tuple:
    records = run.metrics
    steps_per_epoch = max(run.status.get("total_steps", 0) / max(run.status.get("epochs", 1), 1), 1)
    text = sentence_html(describe_run(run, before), TONES.get(run.state, "")) + _bar(run)
    text += _warn(run) + _list_skipped(run)
    charts = [plot(run, steps_per_epoch) for plot in EXTRA_CURVES.values()]
    return (
        text,
        gr.update(visible=bool(records)),
        plot_loss(records, steps_per_epoch),
        plot_accuracy(records, steps_per_epoch),
        *(gr.update(value=chart, visible=chart is not None) for chart in charts),
        hide_paths(run.log_tail),
    )


def describe_run(run: Run, before: int = 0) -> str:
    """What a training is at, in a sentence; ``before`` is how many jobs come first while it waits."""
    status = run.status
    if run.state == "running" and "samples_per_second" in status:
        epoch = f"epoch {max(status.get('epoch', 1), 1)} of {status.get('epochs', 1)}"
        speed = f"{format_count(status['samples_per_second'])} pictures a second"
        until = run.silence or f"about {status.get('seconds_left', 0):.0f} s left"
        return f"{run.name}: running, {epoch}, {speed}, {until}."
    accuracy = {part: run.result_number(f"{part}_accuracy") for part in ("test", "val")}
    if accuracy["test"] is not None and accuracy["val"] is not None:
        measured = f"test accuracy {accuracy['test']:.1%}, validation {accuracy['val']:.1%}"
        epochs, seconds = run.result_number("epochs") or 0, run.result_number("seconds") or 0
        text = f"{run.name}: {run.state} after {epochs:.0f} epochs and {seconds:.0f} s, {measured}. {run.message}"
        return text.rstrip()
    notes = {
        "queued": describe_wait(before),
        "stopped": "The model so far can be used, and “Go on” continues the training." if run.has_model else "",
    }
    silence = f", {run.silence}" if run.silence else ""
    return f"{run.name}: {run.state}{silence}. {run.message} {notes.get(run.state, '')}".rstrip()


def _warn(run: Run) -> Markup:
    sentences = run.status.get("warning", "").splitlines()
    return join_html(sentence_html(sentence, "bad") for sentence in sentences)


def _list_skipped(run: Run) -> Markup:
    """The files that were left out; the run keeps at most the first hundred."""
    skipped = run.status.get("skipped") or []
    number = f"{len(skipped)}{' or more' if len(skipped) >= 100 else ''}"
    summary = f"{number} {'file was' if len(skipped) == 1 else 'files were'} left out"
    return list_html(summary, skipped) if skipped else Markup("")


def _bar(run: Run) -> Markup:
    return progress_html(run.fraction_done) if run.state in UNFINISHED else Markup("")
