"""Work over whole data sets that goes on in the background: evaluations, the repair bench, experiments."""

import gradio as gr

from ui.evaluate.data_set import build_evaluation_panel
from ui.evaluate.experiments import build_experiments_panel
from ui.evaluate.repair import build_repair_panel
from ui.services import Action, Services
from ui.widgets.events import Tab, Values
from ui.widgets.job_view import JobView
from ui.workbench import Workbench

PANELS = {"Data set": build_evaluation_panel, "Repair": build_repair_panel, "Experiments": build_experiments_panel}


def build_evaluate_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the panels; each returns the job view that is brought up to date while the tab is open."""
    views: dict[gr.Tab, JobView] = {}
    with gr.Tabs(elem_id="evaluate-parts"):
        for title, build in PANELS.items():
            with gr.Tab(title) as part:
                views[part] = build(services, bench)
    opened = gr.State(0)

    def show(values: Values, action: Action) -> Values:
        """Lists the runs of the part that is open, which is the only one that is followed."""
        parts = list(views)
        number = parts.index(action.source) if action.source in views else values[opened]
        updates: Values = {opened: number}
        for view in views.values():
            updates[view.timer] = gr.update(active=False)
        view = views[parts[number]]
        return updates | view.open(values) | view.fit(values)

    each = views.values()
    return Tab(
        show,
        [opened, *(part for view in each for part in (*view.inputs, *view.fitted))],
        [opened, *(part for view in each for part in (*view.outputs, *view.fitted))],
        lambda message: {},
        looks_at=[bench.model],
        triggers=[(part, "select") for part in views],
        timers=[view.timer for view in each],
    )
