"""The drawer about one channel: what is shown at once, what waits for a click, and what is refused."""

import gradio as gr
import pytest

from lab.jobs import JobManager
from lab.session import Lab
from tests.device import DEVICE
from tests.sentences import refused
from ui.explain import channel as module_under_test
from ui.explain.drawers import Drawers
from ui.services import Action, Services
from ui.workbench import build_workbench


@pytest.fixture(scope="module")
def drawers(tmp_path_factory) -> Drawers:
    root = tmp_path_factory.mktemp("channel")
    services = Services(Lab(DEVICE, data_root=root, runs_root=root), JobManager(root))
    with gr.Blocks():
        return Drawers(services, build_workbench(services))


def ask(drawers: Drawers, show=None, **chosen: object) -> dict:
    bench = drawers.bench
    values = {part: getattr(part, "value", None) for part in (*bench.inputs, *drawers.inputs)}
    values |= {bench.sample: "ankle_boot", bench.model: "fashion_cnn", drawers.channel.is_seen: "yes"}
    values |= {getattr(drawers.channel, name): value for name, value in chosen.items()}
    return (show or drawers.show_channel)(values, Action("one", lambda *args, **kwargs: None))


def test_a_closed_drawer_asks_nothing(drawers):
    assert ask(drawers, is_seen="") == {}


def test_the_strongest_channel_is_shown_first_with_its_patches_out_of_the_samples(drawers):
    found = ask(drawers)
    channel = drawers.channel
    assert found[channel.data]["value"] == "samples" and found[drawers.layer]["value"]
    number = found[channel.channel]["value"]
    assert f"channel {number}: set to zero" in found[channel.view] and "Its map" in found[channel.view]
    assert f"The 9 patches that channel {number} answers to most" in found[channel.patches]
    assert not found[channel.find]["visible"]
    other = ask(drawers, channel=(number + 1) % 8)
    assert other[channel.channel]["value"] == (number + 1) % 8


def test_what_takes_long_waits_for_a_click_and_is_kept(drawers, monkeypatch):
    monkeypatch.setattr(module_under_test, "AT_ONCE_SECONDS", 0.0)
    waiting = ask(drawers, data="fashion_mnist", limit=100)
    channel = drawers.channel
    assert "100 pictures are not known yet" in waiting[channel.patches] and waiting[channel.find]["visible"]
    found = ask(drawers, drawers.find_patches, data="fashion_mnist", limit=100)
    assert "out of 100" in found[channel.patches] and not found[channel.find]["visible"]
    assert ask(drawers, data="fashion_mnist", limit=100)[channel.patches] == found[channel.patches]


def test_what_the_page_never_sends_is_refused_or_becomes_what_it_offers(drawers):
    with refused():
        ask(drawers, limit=10**9)
    assert ask(drawers, data="/etc")[drawers.channel.data]["value"] == "samples"
