"""The Train tab as a whole: what follows a run, what a preset fills in, and what no single click does."""

import shutil
from types import SimpleNamespace

import gradio as gr
import pytest

from lab.jobs import JobManager
from lab.session import Lab
from models.runs.files import write_json
from models.runs.run import read_run
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from tests.device import DEVICE
from ui.services import Services
from ui.train.examples import EXAMPLES
from ui.train.results.runs import PAGE_SIZE
from ui.train.tab import KEPT, _Train
from ui.workbench import build_workbench

RUNS = [f"r{number:02}" for number in range(PAGE_SIZE + 10)]
"""Oldest first: the first ten are on the second page."""


@pytest.fixture(scope="module")
def services(tmp_path_factory) -> Services:
    root = tmp_path_factory.mktemp("root")
    for number, name in enumerate(RUNS):
        create_run(root / "runs", name, {"dataset": "shapes"})
        status = read_run(root / "runs", name).status | {"state": "finished", "submitted": number}
        write_json(root / "runs" / name / "status.json", status)
    return Services(Lab(DEVICE, root / "data", root / "runs"), JobManager(root / "runs"))


@pytest.fixture(scope="module")
def built(services):
    with gr.Blocks() as blocks:
        made = _Train(services, build_workbench(services))
        tab = made.wire()
    return blocks, tab, made


@pytest.fixture(scope="module")
def form(built, services):
    """The form, and what each of the buttons above it fills in: title -> values by field."""
    made = built[2]
    form = made.form
    values = {part: getattr(part, "value", None) for part in form.inputs}
    names = {component: name for name, component in form.fields.items()}
    filled = {}
    for title, example in EXAMPLES.items():
        settings = example.settings
        fill = made.filler(lambda values, settings=settings: settings)
        updates = fill(values, SimpleNamespace(session_hash="ann"), lambda *_, **__: None)
        filled[title] = {names[part]: update["value"] for part, update in updates.items() if part in names}
    return form, filled


def show(built, kind="one", part="curves", run=None, source=None, **given) -> dict:
    """What the tab sends, by component."""
    _, tab, made = built
    values = {each: getattr(each, "value", None) for each in tab.inputs}
    values |= {made.kind: kind, made.part: part, made.run: run}
    values |= {getattr(made.panels["runs"], name): value for name, value in given.items()}
    updates = tab.show(values, SimpleNamespace(source=source, session="ann"))
    assert updates.keys() <= set(tab.outputs)
    return updates


def test_a_comparison_is_followed_whenever_it_is_on_the_screen(built):
    """It froze after a visit to another tab."""
    made = built[2]
    for kind in ("arms", "one"):
        updates = show(built, kind)
        assert made.arms.timer in updates and not updates[made.arms.timer]["active"]  # no comparison goes on
        assert all(not updates[timer]["active"] for timer in made.timers)


def test_only_what_is_on_the_screen_is_followed(built, services):
    made = built[2]
    create_run(services.jobs.runs_root, "waiting", {"dataset": "shapes"})
    try:
        for part in ("curves", "errors", "time", "runs"):
            updates = show(built, part=part, run="waiting")
            active = {timer for timer in made.timers if updates.get(timer, {}).get("active")}
            assert active == {made.panels[part].timer}
        updates = show(built, part="curves", run=RUNS[0])
        assert not any(updates[timer]["active"] for timer in made.timers)
    finally:
        shutil.rmtree(services.jobs.runs_root / "waiting")


def test_a_run_chosen_on_a_later_page_leaves_the_list_where_it_is(built):
    """The list went back to its first page, and the boxes of the comparison were unticked."""
    runs = built[2].panels["runs"]
    values = {runs.page: 1, runs.comparison.chosen: [RUNS[1], RUNS[4]]}
    _, tab, made = built
    values |= {made.kind: "one", made.part: "runs", made.run: RUNS[3]}
    given = {each: getattr(each, "value", None) for each in tab.inputs} | values
    updates = tab.show(given, SimpleNamespace(source=made.run, session="ann"))
    assert f'data-run="{RUNS[3]}"' in updates[runs.table] and updates[runs.table].count("checked") == 2
    assert "Runs 21 to 30 of 30" in updates[runs.where] and "value" not in updates[runs.comparison.chosen]


@pytest.mark.parametrize("part", ["curves", "errors", "time", "live", "runs"])
def test_every_part_can_be_brought_up_to_date(built, part):
    made = built[2]
    for run in (None, RUNS[0], "gone"):
        updates = show(built, part=part, run=run)
        assert updates[made.run]["value"] == (RUNS[0] if run == RUNS[0] else RUNS[-1])
        assert "Drawn shapes" in updates[made.line]


def test_the_settings_are_folded_away_once_when_there_are_runs(built):
    made = built[2]
    assert show(built)[made.opened]["visible"] is False
    _, tab, _ = built
    values = {each: getattr(each, "value", None) for each in tab.inputs} | {made.is_fresh: False}
    assert made.opened not in tab.show(values, SimpleNamespace(source=made.run, session="ann"))


def test_nothing_is_deleted_without_a_question(built):
    names = {getattr(part, "elem_id", None) for part in built[0].blocks.values()}
    assert "runs-delete" in names and "train-delete" not in names


@pytest.mark.parametrize("title", EXAMPLES)
def test_a_preset_leaves_nothing_of_what_was_chosen_before(form, title):
    form, filled = form
    default = {name: field.value for name, field in form.fields.items()}
    preset = EXAMPLES[title].settings
    before = {name: f"chosen {name}" for name in default}
    for name, value in (before | filled[title]).items():
        otherwise = before[name] if name in KEPT else default[name]
        assert value == preset.get(name, otherwise), name


def test_a_preset_is_the_training_of_its_title(form, services):
    form, filled = form
    changed = {"optimizer": "adam", "learning_rate": 3.0, "augment": "own", "augment.noise": 1, "image_size": 64}
    changed |= {"label_noise": 0.5, "small_cnn.channels": "4, 4", "clutter": 1, "seed": 5, "name": "mine"}
    default = {name: field.value for name, field in form.fields.items()}
    config, name = form.read(default | changed | filled["left"])
    place = {"data_root": str(services.lab.data_root), "device": DEVICE, "seed": 5, "shapes": {"position": "left"}}
    wanted = TrainingConfig(dataset="shapes", epochs=8, model={"head": "flatten"}, **place)
    assert name == "mine" and config == wanted
