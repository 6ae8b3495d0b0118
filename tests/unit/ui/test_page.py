"""The page as a whole: what its parts tell each other."""

import json

import gradio as gr
import pytest
from gradio.context import LocalContext

from lab.jobs import JobManager
from lab.session import Lab
from models.runs.files import write_json
from models.runs.submit import create_run
from tests.device import DEVICE
from tests.sentences import refused
from ui.jobs import KINDS
from ui.page import build_page
from ui.services import Services


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> gr.Blocks:
    root = tmp_path_factory.mktemp("page")
    services = Services(Lab(DEVICE, data_root=root, runs_root=root), JobManager(root))
    built = build_page(services)
    built.services = services
    return built


def test_values_that_are_set_by_code_start_no_handler_and_none_follows_another(page):
    """So that no choice sets off another one: only what happens in the browser alone may hear of changes."""
    heard = {"change", "then", "success"}
    asking = [fn for fn in page.fns.values() if fn.fn is not None]
    late = [fn.name for fn in asking if any(event in heard for _, event in fn.targets)]
    assert late == []


def call(page: gr.Blocks, name: str, of: str = "", **chosen: object):
    """Calls a handler, of the component ``of``, with values by elem_id, those of all others as they are first."""
    named = [e for e in page.fns.values() if e.name == name and e.api_visibility == "private"]
    entry = next(e for e in named if not of or any(page.blocks[part].elem_id == of for part, _ in e.targets))
    values = {}
    for part in entry.inputs:
        values[part] = chosen.get(str(part.elem_id).replace("-", "_"), getattr(part, "value", None))
    values |= {part: "yes" for part in entry.inputs if part.elem_id == "page-is-ready"}
    given = {"request": gr.Request(session_hash="one"), "progress": lambda *args, **kwargs: None}
    if name == "ask":
        given["event"] = gr.EventData(None, None)
    if name == "open_job":
        given["event"] = gr.EventData(None, {"name": chosen["job"]})
    found = entry.fn(values, **given)
    if isinstance(found, dict):
        assert {*found} <= {*entry.outputs} | {"__type__"}
    return list(found) if name == "grow_map" else found


@pytest.mark.parametrize(
    ("name", "tab"),
    [("show_anew", "classify"), ("show_anew", "shift"), ("show_anew", "explain"), ("ask", ""), ("grow_map", "")],
)
def test_cancel_reaches_a_picture_that_is_being_opened(page, name, tab, monkeypatch):
    services, told = page.services, []

    def leave(path, progress):
        services.cancel(gr.Request(session_hash="one"))
        progress(1, 2)

    monkeypatch.setattr(services.lab, "open_image", leave)
    for module in ("ui.dispatch", "ui.widgets.errors"):
        monkeypatch.setattr(f"{module}.inform", told.append)
    call(page, name, opened_tab=tab)
    assert told == ["Cancelled."]


def test_a_tab_that_is_none_is_refused(page):
    with refused():
        call(page, "show_anew", opened_tab="nothing")


def test_what_is_on_the_screen_is_shown_anew_and_nothing_else(page):
    for tab, shown in (("classify", "classify-result"), ("shift", "shift-stage"), ("explain", "explain-view")):
        found = call(page, "show_anew", opened_tab=tab)
        changed = {part.elem_id for part in found} & {"classify-result", "shift-stage", "explain-view"}
        assert changed == {shown}


@pytest.mark.parametrize(
    ("kind", "tab", "listed", "chosen"),
    [
        ("training", "train", "train-run", ("train-parts", "one")),
        ("arms", "train", "arms-run", ("train-parts", "arms")),
        ("evaluation", "evaluate", "evaluation-run", ("evaluate-question", "right")),
        ("repair", "evaluate", "repair-run", ("evaluate-question", "cure")),
        ("experiment", "evaluate", "experiment-run", ("evaluate-question", "papers")),
    ],
)
def test_a_job_of_the_list_is_opened_in_its_tab(page, kind, tab, listed, chosen):
    root = page.services.jobs.runs_root
    for name in ("wanted", "newer"):
        write_json(create_run(root, f"{kind}-{name}", {}, kind) / "status.json", {"state": "stopped", "kind": kind})
    wanted = f"{kind}-wanted"
    opened_with_it = call(page, "show_anew", of=f"tab-{tab}", jobs=json.dumps({"open": wanted}))
    for found in (call(page, "open_job", job=wanted), opened_with_it):
        shown = {part.elem_id: value for part, value in found.items() if part.elem_id}
        assert shown["opened-tab"] == KINDS[kind][0] == tab
        assert shown[listed]["value"] == wanted and shown[chosen[0]] == chosen[1]


@pytest.mark.parametrize("told", ["", "[]", "{", '{"open": 3}', '{"open": "gone"}', '{"open": "../x"}', 4, None])
def test_a_tab_is_opened_as_it_is_where_no_job_is_meant(page, told):
    found = call(page, "show_anew", of="tab-train", jobs=told)
    assert {part.elem_id: value for part, value in found.items()}["opened-tab"] == "train"


@pytest.mark.parametrize("job", ["gone", "../x", None, {}])
def test_a_job_that_is_not_there_is_refused(page, job):
    with refused(error=gr.Error):
        call(page, "open_job", job=job)


def test_a_client_that_leaves_ends_the_opening_of_its_picture(page, monkeypatch):
    services, request = page.services, gr.Request(session_hash="caller")

    def leave(path, *, progress):
        services.cancel(request)
        progress(1, 2)

    monkeypatch.setattr("ui.api.open_image", leave)
    (call,) = [
        entry.fn for entry in page.fns.values() if entry.name == "classify" and entry.api_visibility == "public"
    ]
    mark = LocalContext.request.set(request)
    try:
        with refused(error=gr.Error) as ended:  # gradio could make nothing of an update here
            call("chelsea")
    finally:
        LocalContext.request.reset(mark)
    assert not ended.value.print_exception
