"""Puts the page together: sidebar, tabs, and what refreshes when."""

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from markupsafe import Markup
from starlette.middleware import Middleware

from analysis.errors import UserError
from models.data.samples import get_sample
from models.registry import DEFAULT_MODEL
from models.settings import show_value
from ui.api import add_endpoints
from ui.classify import build_classify_tab
from ui.entry import Page
from ui.evaluate.tab import build_evaluate_tab
from ui.explain.tab import build_explain_tab
from ui.requests import RequestGuard
from ui.services import Services
from ui.shift.tab import build_shift_tab
from ui.train.tab import build_train_tab
from ui.widgets.errors import inform, warn
from ui.widgets.events import HIDDEN, QUICK, Manner, Tab, Update, Values, Work
from ui.widgets.html import one_of
from ui.workbench import Workbench, build_workbench, describe_model, list_model_choices

ASSETS = Path(__file__).parent.parent / "assets"
TABS = {
    "classify": ("Classify", build_classify_tab),
    "shift": ("Shift", build_shift_tab),
    "explain": ("Explain", build_explain_tab),
    "evaluate": ("Evaluate", build_evaluate_tab),
    "train": ("Train", build_train_tab),
}
MAX_UPLOAD = "256mb"
"""Of a single file."""
Views = dict[str, tuple[gr.Tab, Tab]]
KEEP_FILES_SECONDS = 24 * 3600
SYSTEM_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
"""No web font: the page has to look the same without a connection."""


def build_page(services: Services) -> gr.Blocks:
    """The whole page, ready to launch with :func:`launch_options`."""
    with Page(
        title="ConvScope", analytics_enabled=False, fill_width=True, delete_cache=(3600, KEEP_FILES_SECONDS)
    ) as page:
        add_endpoints(services)  # first: gradio numbers the names of whatever comes later under the same name
        bench = build_workbench(services)
        with gr.Row(elem_id="header"):
            badge = Markup('<h1>ConvScope</h1><span class="badge">{}</span>')
            gr.HTML(badge.format(services.lab.models.device.type.upper()))
            cancel = gr.Button("Cancel", size="sm", min_width=90, scale=0, elem_id="cancel")
            corner = gr.Row(scale=0)
        with gr.Tabs(elem_id="tabs", selected="classify") as tabs:
            views: Views = {}
            for name, (title, build) in TABS.items():
                with gr.Tab(title, id=name, elem_id=f"tab-{name}") as tab:
                    views[name] = (tab, build(services, bench))
        with corner:
            _add_link_button(bench, views)
        _wire(services, page, bench, tabs, views)
        page.unload(services.cancel)
        cancel.click(services.cancel, None, None, **QUICK)
    return page


def launch_options() -> dict:
    """What ``Blocks.launch`` needs to show the page as it is meant to look."""
    theme = gr.themes.Soft(primary_hue="blue", secondary_hue="blue", neutral_hue="slate", font=SYSTEM_FONT)
    return {
        "theme": theme,
        "css_paths": [ASSETS / "style.css"],
        "favicon_path": ASSETS / "icon.svg",
        "footer_links": ["api", "settings"],
        "pwa": True,
        "ssr_mode": False,
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": MAX_UPLOAD,
        "app_kwargs": {"middleware": [Middleware(RequestGuard)]},
        "max_threads": 16,
        # Gradio keeps the last values of every session, calls of the API included, until there are this many.
        "state_session_capacity": 300,
    }


def _wire(services: Services, page: gr.Blocks, bench: Workbench, tabs: gr.Tabs, views: Views) -> None:
    """Opening a tab, or another picture or model, refreshes the tab that is open."""
    first = gr.State()  # the tab that the page opens with; the visitor may be in another one by now
    restored, restore_picture = _restore_links(services, page, bench, tabs, views, first)
    opened = {name: tab.select(lambda name=name: name, None, bench.tab, **QUICK) for name, (tab, _) in views.items()}
    for name, (_, view) in views.items():
        manner: Manner = {"api_visibility": "private", "show_progress": "minimal" if view.looks_at else "hidden"}
        refresh = _refresh_if_open(name, view, bench.tab)
        for event in opened.values() if view.on_every_tab else [opened[name]]:
            event.then(**refresh, **manner)
        restored = restored.then(**_refresh_if_open(name, view, first), **manner)
        changes = [component.change for component in view.looks_at]
        if changes:
            gr.on(changes, **refresh, **manner, trigger_mode="always_last")
    # Last of all: changing at the same time, picture and model would set each other off in gradio's page for ever.
    restored.then(restore_picture, None, [bench.image, bench.sample], **HIDDEN)


def _refresh_if_open(name: str, view: Tab, opened: gr.State) -> Work:
    """The refresh of a tab, where it is the one that a state names."""

    @wraps(view.refresh)
    def refresh(values: Values, *args: Any) -> Values | Update:
        return view.refresh(values, *args) if view.on_every_tab or values[opened] == name else gr.skip()

    return {"fn": refresh, "inputs": {*view.inputs, opened}, "outputs": view.outputs}


def _restore_links(
    services: Services, page: gr.Blocks, bench: Workbench, tabs: gr.Tabs, views: Views, first: gr.State
) -> tuple[gr.events.Dependency, Callable[[gr.Request], tuple]]:
    """Fills the controls from the address when the page is opened; returns it, and what restores the picture."""
    linked = {key: entry for _, view in views.values() for key, entry in view.linked.items()}

    def restore(request: gr.Request) -> tuple:
        """Fills the controls from the address, so that a link opens the view it was made from."""
        choices = list_model_choices(services)
        wanted, problems = _read_link(services, request.query_params, linked)
        if problems:
            warn(f"Not everything in the link can be used. {' '.join(problems)}")
        # Without a tab in the address none is chosen: the visitor may have opened one before this arrives.
        tab = wanted.get("tab", gr.skip())
        model = wanted.get("model", DEFAULT_MODEL)
        return (
            gr.update(choices=choices, value=model),
            describe_model(services.lab.registry.get(model)),
            gr.update(choices=choices),
            tab,
            gr.update(selected=wanted["tab"]) if "tab" in wanted else gr.skip(),
            wanted.get("tab", "classify"),
            *(gr.update(**_value(wanted, key)) for key in linked),
        )

    def restore_picture(request: gr.Request) -> tuple:
        """Shows the sample that the address names."""
        wanted, _ = _read_link(services, request.query_params, {})
        if "sample" not in wanted:
            return gr.skip(), gr.skip()
        return str(get_sample(wanted["sample"]).path), wanted["sample"]

    outputs = [bench.model, bench.card, bench.compare, bench.tab, tabs, first]
    outputs += [component for component, _ in linked.values()]
    page.load(None, js=_ON_LOAD)
    return page.load(restore, None, outputs, **HIDDEN), restore_picture


def _add_link_button(bench: Workbench, views: Views) -> None:
    """A button that puts an address for the present view into the clipboard and the address bar."""
    linked = {key: component for _, view in views.values() for key, (component, _) in view.linked.items()}
    button = gr.Button("Copy link to this view", size="sm", min_width=150, elem_id="copy-link", scale=0)
    query = gr.Textbox(visible=False)

    def make_query(sample: str, model: str, tab: str, *values: object) -> str:
        """The address's query; an uploaded picture cannot be part of it."""
        parts = {"sample": sample, "model": model, "tab": tab, **dict(zip(linked, values, strict=True))}
        note = "" if sample else " It cannot hold your own picture."
        inform(f"The link is in the address bar and the clipboard.{note}")
        words = {key: f"{value:g}" if isinstance(value, float) else value for key, value in parts.items()}
        return urlencode({key: word for key, word in words.items() if word not in ("", None)})

    inputs = [bench.sample, bench.model, bench.tab, *linked.values()]
    button.click(make_query, inputs, query, **HIDDEN).then(None, query, None, js=_COPY_LINK)


def _read_link(services: Services, params: Mapping[str, str], linked: dict) -> tuple[dict, list[str]]:
    """The parts of an address that mean something here, and what is wrong with the others."""
    readers: dict[str, Callable[[str], object]] = {
        "sample": lambda name: get_sample(name).name,
        "model": lambda name: services.lab.registry.get(name).name,
        "tab": one_of(TABS),
        **{key: read for key, (_, read) in linked.items()},
    }
    wanted: dict[str, Any] = {}
    problems = []
    for key, read in readers.items():
        if key not in params:
            continue
        try:
            wanted[key] = read(params[key])
        except UserError as error:
            problems.append(str(error))
        except ValueError:
            problems.append(f"{key} cannot be {show_value(params[key])}.")
    return wanted, problems


def _value(wanted: dict, key: str) -> dict:
    return {"value": wanted[key]} if key in wanted else {}


# On a phone the open sidebar would cover the page. And gradio's sliders report a value only when a pointer lets go
# of them: a key that is released, and Enter in their number, have to count as well.
_ON_LOAD = """() => {
    if (window.innerWidth < 768) document.querySelector("#workbench.open .toggle-button")?.click();
    document.addEventListener("keyup", (event) => {
        const input = event.target;
        if (input.matches("input[type=range]")) input.dispatchEvent(new PointerEvent("pointerup", {bubbles: true}));
        if (event.key === "Enter" && input.matches("input[data-testid=number-input]")) input.blur();
    });
}"""

# The clipboard exists on https and localhost only; the address bar always does.
_COPY_LINK = """(query) => {
    history.replaceState(null, "", "?" + query);
    if (navigator.clipboard) navigator.clipboard.writeText(location.href);
}"""
