"""Lessons and the page: a step's settings are those of a link, and the page can restore each of them."""

import gradio as gr
import pytest

from lab.jobs import JobManager
from lab.learning.lessons import FOLDER, HIDEABLE, read_lesson
from lab.session import Lab
from tests.device import DEVICE
from ui.address import list_readers, read_query
from ui.learn.bench import ASSETS
from ui.page import TABS
from ui.services import Services
from ui.workbench import build_workbench


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """How the page reads every name in an address."""
    root = tmp_path_factory.mktemp("lessons")
    services = Services(Lab(DEVICE, data_root=root, runs_root=root / "runs"), JobManager(root / "runs"))
    with gr.Blocks():
        bench = build_workbench(services)
        views = [build(services, bench) for _, build in TABS.values()]
    found = list_readers(services.lab.registry, TABS)
    return found | {name: read for view in views for name, (_, read) in view.linked.items()}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_setting_of_a_step_can_be_restored(readers, path):
    for step in read_lesson(path).steps:
        settings = {"tab": step.tab} | {name: str(value) for name, value in step.settings.items()}
        wanted, problems = read_query(settings, readers)
        assert problems == [] and wanted.keys() == settings.keys()
    assert read_query({"bench": "none", "conv": "<"}, readers)[1]  # which would be noticed


def test_the_style_sheet_knows_all_that_a_step_can_hide():
    style = (ASSETS / "lesson_strip.css").read_text(encoding="utf-8")
    assert [name for name in HIDEABLE if f"[data-lesson-hides~={name}]" not in style] == []
