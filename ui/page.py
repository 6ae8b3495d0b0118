"""Puts the page together: header, sidebar, tabs."""

from pathlib import Path

import gradio as gr
from markupsafe import Markup
from starlette.middleware import Middleware

from models.access import viewer
from ui.address import COPY_LINK, build_address
from ui.api import add_endpoints
from ui.classify import build_classify_tab
from ui.dispatch import Dispatcher
from ui.doors.gate import VisitorGate
from ui.entry import Page
from ui.evaluate.tab import build_evaluate_tab
from ui.explain.tab import build_explain_tab
from ui.jobs import build_job_list
from ui.learn.lesson_strip import build_lesson_strip
from ui.learn.tab import build_learn_tab
from ui.menu import build_menu
from ui.requests import RequestGuard
from ui.services import Services, find_event, tell_place
from ui.shift.tab import build_shift_tab
from ui.train.tab import build_train_tab
from ui.visitors import Visitors, find_visitor
from ui.widgets.events import QUICK, Tab
from ui.workbench import build_workbench

ASSETS = Path(__file__).parent.parent / "assets"
TABS = {
    "classify": ("Classify", build_classify_tab),
    "shift": ("Shift", build_shift_tab),
    "explain": ("Explain", build_explain_tab),
    "evaluate": ("Evaluate", build_evaluate_tab),
    "train": ("Train", build_train_tab),
    "learn": ("Learn", build_learn_tab),
}
MAX_UPLOAD = "256mb"
"""Of a single file."""
KEEP_FILES_SECONDS = 24 * 3600
SYSTEM_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
"""No web font: the page has to look the same without a connection."""

NOTHING = "Nothing is being computed for this page. Jobs are ended in their list."
SAY = "watch('value', () => { if (props.value) window.convscopeSay(props.value); props.value = ''; });"

OPEN_SIDEBAR = '<button type="button">Picture and model…</button>'
"""On a phone, where the sidebar is folded away."""
SHOW_ROLE = """
watch("value", () => {
    const {role, says} = JSON.parse(props.value || "{}");
    if (!role) return;
    document.body.dataset.role = role;
    const badge = element.querySelector(".badge").cloneNode();
    badge.textContent = role === "owner" ? "Owner" : "Visitor";
    badge.title = says;
    element.querySelector(".badge").after(" ", badge);
});
"""
"""What is no business of a visitor, the style sheet leaves away; the server refuses it in any case."""

LOOKS = {
    "block_label_background_fill": "*background_fill_primary",
    "block_label_text_color": "*body_text_color",
    "block_title_background_fill": "none",
    "block_title_text_color": "*body_text_color",
    "block_title_padding": "0",
    "block_title_text_weight": "500",
    "block_title_text_size": "*text_sm",
    "block_info_text_color": "*body_text_color_subdued",
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "checkbox_label_background_fill_selected": "*primary_600",
    "checkbox_background_color_selected": "*primary_800",
    "checkbox_border_color_selected": "*neutral_400",
}
"""Labels are plain dark text: blue is for the one thing to press, and dark enough for white letters."""
LIGHT_AND_DARK = {
    "body_text_color_subdued": ("#475569", "#cbd5e1"),
    "input_border_color": ("#8291a7", "*neutral_500"),
    "input_placeholder_color": ("*neutral_500", "*neutral_300"),
    "checkbox_border_color": ("*neutral_500", "*neutral_400"),
    "button_secondary_background_fill_hover": ("*neutral_100", "*primary_700"),
    "link_text_color": ("*secondary_600", "*secondary_300"),
    "link_text_color_hover": ("*secondary_700", "*secondary_300"),
    "link_text_color_active": ("*secondary_600", "*secondary_300"),
    "link_text_color_visited": ("*secondary_700", "*secondary_300"),
}
"""4.5 : 1 and more for text on every background, 3 : 1 for the outline of a field."""


def build_page(services: Services, visitors: Visitors | None = None) -> Page:
    """The whole page, ready to launch with :func:`launch_options`; without ``visitors`` everybody is its owner."""
    services.lab.models.asks_first = True
    turns = services.lab.models.turns
    turns.whose, turns.where, turns.tell = find_visitor, lambda: viewer().place, tell_place
    if visitors is not None:
        quotas = visitors.quotas
        turns.check = lambda: quotas.check_computing(find_event())
        turns.count = lambda seconds: quotas.count_computing(seconds, find_event())
    with Page(
        title="ConvScope", analytics_enabled=False, fill_width=True, delete_cache=(3600, KEEP_FILES_SECONDS)
    ) as page:
        page.visitors = visitors
        add_endpoints(services)  # first: gradio numbers the names of whatever comes later under the same name
        bench = build_workbench(services)
        with gr.Row(elem_id="header"):
            heading = Markup('<h1>ConvScope</h1><span class="badge">{}</span>')
            device = services.lab.models.device.type.upper()
            role = gr.HTML("", html_template=heading.format(device), js_on_load=SHOW_ROLE)
            bar = gr.HTML(elem_id="progress", min_height=36)
            jobs = build_job_list(services)
            cancel = gr.Button("Cancel", size="sm", min_width=90, scale=0, elem_id="cancel")
            share = gr.Button("Copy link", size="sm", min_width=100, elem_id="copy-link", scale=0)
            build_menu()
        gr.HTML(OPEN_SIDEBAR, elem_id="open-sidebar", padding=False)
        address = build_address()
        with gr.Tabs(elem_id="tabs", selected="classify") as tabs:
            views: dict[str, tuple[gr.Tab, Tab]] = {}
            for name, (title, build) in TABS.items():
                with gr.Tab(title, id=name, elem_id=f"tab-{name}") as tab:
                    views[name] = (tab, build(services, bench))
        Dispatcher(services, page, bench, tabs, views, bar, address, jobs, role).wire()
        build_lesson_strip(services)
        share.click(None, bench.sample, None, js=COPY_LINK)
        page.unload(services.leave)
        said = gr.HTML("", html_template="", js_on_load=SAY, elem_id="cancel-said")

        def cancel_all(request: gr.Request) -> str:
            """Ends what the visitor has under way; says so where there is nothing, as what ends says it itself."""
            return "" if services.cancel(request) else NOTHING

        cancel.click(cancel_all, None, said, **QUICK)
    return page


def launch_options(visitors: Visitors) -> dict:
    """What ``Blocks.launch`` needs to show the page as it is meant to look."""
    theme = gr.themes.Soft(primary_hue="blue", secondary_hue="blue", neutral_hue="slate", font=SYSTEM_FONT)
    theme.set(
        block_padding="0.5rem",
        layout_gap="0.6rem",
        input_border_width="1px",
        color_accent="*primary_600",
        **LOOKS,
        **{f"{name}_dark": value for name, value in LOOKS.items() if "fill" in name or "color" in name},
        **{name: light for name, (light, _) in LIGHT_AND_DARK.items()},
        **{f"{name}_dark": dark for name, (_, dark) in LIGHT_AND_DARK.items()},
    )
    return {
        "theme": theme,
        "css_paths": [ASSETS / "style.css", *sorted((ASSETS / "learn").glob("*.css"))],
        "js": (ASSETS / "page.js").read_text(encoding="utf-8"),
        "favicon_path": ASSETS / "icon.svg",
        "footer_links": ["api", "settings"],
        "pwa": True,
        "ssr_mode": False,
        "run_history": False,
        # Gradio would give up at once if its own first look at the page took three seconds, as on a busy machine.
        "_frontend": False,
        "enable_monitoring": False,
        "max_file_size": MAX_UPLOAD,
        "app_kwargs": {"middleware": [Middleware(RequestGuard), Middleware(VisitorGate, visitors)]},
        "max_threads": 64,
        # Gradio keeps the last values of every session, calls of the API included, until there are this many.
        "state_session_capacity": 300,
    }
