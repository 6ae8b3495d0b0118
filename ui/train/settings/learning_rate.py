"""Finding a learning rate: a hundred steps at ever higher rates, as a job, and a suggestion."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import gradio as gr

from analysis.errors import UserError
from analysis.figures.training import plot_rates
from lab.documents import read_document
from lab.training_outlook import estimate_rates, estimate_training
from models.runs.run import UNFINISHED
from models.training.config import TrainingConfig
from models.training.lr_finder import STEPS
from ui.services import Action, Services
from ui.train.settings.data import Look
from ui.widgets.chart import Chart
from ui.widgets.errors import shows_errors
from ui.widgets.estimate import tell_start
from ui.widgets.events import PRIVATE, Field, Values
from ui.widgets.html import sentence_html
from ui.widgets.job_view import count_before, describe_time, describe_wait

POLL_SECONDS = 0.25
FORGET_SECONDS = 5
"""How long a test that begins or ends at this very moment is tried to be deleted."""


def build_rate_panel(
    services: Services, fields: Mapping[str, Field], read: Callable[[Mapping], TrainingConfig]
) -> Look:
    """Lays out a button and what it finds; the suggestion goes into the field ``learning_rate``.

    Gives what shows how long the search takes, and the training.

    Args:
        services: The lab and what goes with it.
        fields: The settings by name.
        read: Values by name -> the training that the rate is for; may raise UserError.
    """
    with gr.Row(elem_classes="controls"):
        find = gr.Button("Find a learning rate", elem_id="train-find-rate", size="md", min_width=220, scale=0)
        said = gr.HTML(elem_id="train-estimate", padding=False)
    finding = gr.HTML(elem_id="train-rate-finding")
    plot = Chart(visible=False, elem_id="train-rate-plot")

    @shows_errors
    def test(values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple:
        """Tries rates for the settings of the page."""
        config = read({key: values[field] for key, field in fields.items()})
        name = services.jobs.start_program("range_test", config.to_dict(), "learning-rate")
        try:
            found = _wait(services, name, request, progress)
        finally:
            _forget(services, name)
        suggestion = found.get("suggestion")
        figure = plot_rates(found["rates"], found["losses"], suggestion)
        shown = gr.update(value=figure, visible=True)
        if suggestion is None:
            return (
                sentence_html("The loss never fell: no rate can be suggested for these settings."),
                shown,
                gr.skip(),
            )
        text = f"Suggested peak: {suggestion:g}, where the loss falls fastest. It has been filled in."
        return sentence_html(text, "good"), shown, suggestion

    find.click(
        test, {*fields.values()}, [finding, plot, fields["learning_rate"]], **PRIVATE, show_progress_on=finding
    )

    def expect(values: Values, action: Action) -> Values:
        """How long the search takes, and the training."""

        def tell() -> str:
            config = read({key: values[field] for key, field in fields.items()})
            search, training = describe_time(estimate_rates(config)), estimate_training(config)
            then = (
                "once the pictures are open" if training is None else f"the training about {describe_time(training)}"
            )
            return f"The search takes about {search} if this machine does nothing else, {then}."

        return tell_start(find, said, tell, "train")

    return Look(expect, [*fields.values()], [find, said])


def _wait(services: Services, name: str, request: gr.Request, progress: gr.Progress) -> dict:
    """The job's result, once it is there."""

    def say(done: tuple[int, int], desc: str) -> None:
        wait = f". {describe_wait(count_before(services, run))}" if run.state == "queued" else ""
        progress(done, desc=desc + wait)

    with services.watch(request, say, "Trying learning rates", "learning-rate") as report:
        while (run := services.jobs.read(name)).state in UNFINISHED:
            report(run.status.get("step", 0), STEPS)
            time.sleep(POLL_SECONDS)
    found = read_document(run) if run.state == "finished" else None
    if found is None:
        raise UserError(run.message or "The test of learning rates ended without a result.")
    return found


def _forget(services: Services, name: str) -> None:
    """Ends the test, however far it is, and deletes it: it is no run that anybody wants to find again."""
    deadline = time.monotonic() + FORGET_SECONDS
    while time.monotonic() < deadline:
        with suppress(UserError):  # its process is just about to begin or to end
            services.jobs.kill(name)
            services.jobs.delete(name)
            return
        time.sleep(POLL_SECONDS)
