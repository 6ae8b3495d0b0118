"""The page as a whole: what its parts tell each other."""

from contextlib import nullcontext

import gradio as gr
import pytest
from gradio.context import LocalContext
from PIL import Image

from analysis.errors import Cancelled
from lab.jobs import JobManager
from lab.session import Lab
from models.data.decoding import budget
from models.registry import DEFAULT_MODEL
from tests.device import DEVICE
from ui.page import build_page
from ui.services import Services


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> gr.Blocks:
    root = tmp_path_factory.mktemp("page")
    services = Services(Lab(DEVICE, data_root=root, runs_root=root), JobManager(root))
    built = build_page(services)
    built.services = services
    return built


def test_no_listener_waits_for_a_state_that_is_set_outside_the_queue(page):
    """Gradio tells nobody of such a change: what somebody chose before would stay on the screen."""
    events = list(page.fns.values())
    heard = {target for event in events for target, name in event.targets if name == "change"}
    heard = {target for target in heard if isinstance(page.blocks.get(target), gr.State)}
    assert heard  # runs that are renamed or deleted
    unheard = [event.name for event in events if not event.queue for output in event.outputs if output._id in heard]
    assert unheard == []


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("show_preview", {}),
        (
            "show_features",
            {"model": DEFAULT_MODEL, "features-layer": "conv_stem", None: ["features"]},
        ),
        ("explain", {"model": DEFAULT_MODEL, "explain-target": "auto", None: "saliency"}),
        ("classify", {"model": DEFAULT_MODEL, "compare": [], None: "classify"}),
    ],
)
def test_cancel_reaches_a_picture_that_is_being_opened(page, event, arguments, tmp_path, monkeypatch):
    services, asked = page.services, []

    def end(done, total):
        asked.append(event)
        raise Cancelled

    monkeypatch.setattr(services, "watch", lambda *args, **kwargs: nullcontext(end))
    monkeypatch.setattr(budget, "FIRST_REPORT_SECONDS", -1)
    monkeypatch.setattr("ui.widgets.errors.inform", lambda message: None)
    Image.linear_gradient("L").save(tmp_path / "cell.tif")
    events = [entry for entry in page.fns.values() if entry.name == event and entry.api_visibility == "private"]
    chosen = arguments | {"image": str(tmp_path / "cell.tif")}
    values = {component: chosen.get(component.elem_id) for component in events[0].inputs}
    given = [values] if events[0].inputs_as_dict else list(values.values())
    events[0].fn(*given, gr.Request(session_hash="one"), lambda *args, **kwargs: None)
    assert asked == [event]


def test_a_client_that_leaves_ends_the_opening_of_its_picture(page, monkeypatch):
    services, request, told = page.services, gr.Request(session_hash="caller"), []

    def leave(path, *, progress):
        services.cancel(request)
        progress(1, 2)

    monkeypatch.setattr("ui.api.open_image", leave)
    monkeypatch.setattr("ui.widgets.errors.inform", told.append)
    (call,) = [
        entry.fn for entry in page.fns.values() if entry.name == "classify" and entry.api_visibility == "public"
    ]
    mark = LocalContext.request.set(request)
    try:
        call("chelsea")
    finally:
        LocalContext.request.reset(mark)
    assert told == ["Cancelled."]
