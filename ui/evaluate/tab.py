"""Work over whole data sets that goes on in the background: evaluations, the repair bench, experiments."""

from collections.abc import Callable

import gradio as gr

from lab.evaluation.outlook import find_known_data
from ui.evaluate.data_set import build_evaluation_panel
from ui.evaluate.experiments import build_experiments_panel
from ui.evaluate.repair import build_repair_panel
from ui.services import Action, Services
from ui.widgets.events import Tab, Values
from ui.widgets.html import one_of
from ui.widgets.job_view import JobView
from ui.workbench import Workbench, describe_model

QUESTIONS: dict[str, tuple[str, Callable[[Services, Workbench], JobView]]] = {
    "right": (
        "How often is it right?\nAccuracy over a data set, still and moved",
        build_evaluation_panel,
    ),
    "cure": ("Can it be cured?\nChanges that make it less sensitive to shifts, and their cost", build_repair_panel),
    "papers": ("What did papers find?\nPublished experiments, repeated on this machine", build_experiments_panel),
}
"""Question -> its card, and what lays out the part that answers it; the style sheet shows one of them."""
KNOWING = "fashion_cnn"
"""A model whose data are here, for those whose model knows none."""


def build_evaluate_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the parts; each returns the job view that is brought up to date while it is on the screen."""
    views: dict[str, JobView] = {}
    with gr.Column(elem_id="evaluate"):
        cards = [(title, name) for name, (title, _) in QUESTIONS.items()]
        question = gr.Radio(cards, value="right", show_label=False, container=False, elem_id="evaluate-question")
        knowing = gr.Button(
            f"Take {KNOWING} instead, whose pictures are here", visible=False, elem_id="evaluate-knowing", scale=0
        )
        for name, (_, build) in QUESTIONS.items():
            with gr.Column(elem_id=f"answer-{name}"):
                views[name] = build(services, bench)

    def show(values: Values, action: Action) -> Values:
        """Lists the runs of the part that is on the screen, which is the only one that is followed."""
        updates: Values = {view.timer: gr.update(active=False) for view in views.values()}
        if action.source is knowing:
            updates |= {bench.model: KNOWING, bench.card: describe_model(services.lab.registry.get(KNOWING))}
            values = values | {bench.model: KNOWING}
        is_stranger = find_known_data(services.lab, values[bench.model]) is None
        updates[knowing] = gr.update(visible=is_stranger and values[question] != "papers")
        view = views[values[question]]
        return updates | view.open(values) | view.fit(values)

    each = views.values()
    return Tab(
        show,
        [question, *(part for view in each for part in (*view.inputs, *view.form))],
        [bench.model, bench.card, knowing, *(part for view in each for part in (*view.outputs, *view.fitted))],
        lambda message: {},
        looks_at=[bench.model, bench.compare],
        triggers=[(question, "input"), (knowing, "click")],
        timers=[view.timer for view in each],
        linked={"question": (question, one_of(QUESTIONS))},
        runs={view.kind: (view.run, {question: name}) for name, view in views.items()},
    )
