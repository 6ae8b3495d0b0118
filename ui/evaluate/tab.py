"""Work over whole data sets that goes on in the background: evaluations, the repair bench, experiments."""

import gradio as gr

from ui.evaluate.data_set import build_evaluation_panel
from ui.evaluate.experiments import build_experiments_panel
from ui.evaluate.repair import build_repair_panel
from ui.services import Services
from ui.widgets.events import Tab, Values
from ui.widgets.job_view import offer_runs
from ui.workbench import Workbench

PANELS = {"Data set": build_evaluation_panel, "Repair": build_repair_panel, "Experiments": build_experiments_panel}


def build_evaluate_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the panels; each returns the job view that is brought up to date while the tab is open."""
    views = []
    with gr.Tabs(elem_id="evaluate-parts"):
        for title, build in PANELS.items():
            with gr.Tab(title) as part:
                views.append(build(services, bench))
                if views[-1].on_open:
                    part.select(**views[-1].on_open)

    def refresh(values: Values) -> Values:
        """Lists the runs, and watches the chosen ones while the tab is open."""
        is_open = values[bench.tab] == "evaluate"
        updates: Values = {}
        for view in views:
            updates |= {view.timer: gr.update(active=is_open), view.seen: None}
            if is_open:
                updates[view.run] = offer_runs(view.choices(), values[view.run])
        return updates

    outputs = [part for view in views for part in (view.run, view.timer, view.seen)]
    return Tab(refresh, [bench.tab, *(view.run for view in views)], outputs, on_every_tab=True)
