"""The page as a whole: what its parts tell each other."""

import gradio as gr
import pytest

from lab import Lab
from models.jobs import JobManager
from tests.device import DEVICE
from ui import Services
from ui.page import build_page


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> gr.Blocks:
    root = tmp_path_factory.mktemp("page")
    return build_page(Services(Lab(DEVICE, data_root=root, runs_root=root), JobManager(root)))


def test_no_listener_waits_for_a_state_that_is_set_outside_the_queue(page):
    """Gradio tells nobody of such a change: what somebody chose before would stay on the screen."""
    events = list(page.fns.values())
    heard = {target for event in events for target, name in event.targets if name == "change"}
    heard = {target for target in heard if isinstance(page.blocks.get(target), gr.State)}
    assert heard  # runs that are renamed or deleted
    unheard = [event.name for event in events if not event.queue for output in event.outputs if output._id in heard]
    assert unheard == []
