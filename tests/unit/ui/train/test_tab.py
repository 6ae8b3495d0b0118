"""The Train tab as a whole: what follows a run, what a preset fills in, and what no single click does."""

import gradio as gr
import pytest

from lab.jobs import JobManager
from lab.session import Lab
from models.runs.files import write_json
from models.runs.run import read_run
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from tests.device import DEVICE
from tests.panels import refresh
from ui.services import Services
from ui.train.results.runs import PAGE_SIZE
from ui.train.settings.form import build_train_form
from ui.train.tab import KEPT, PRESETS, TRANSFER, _wire_presets, build_train_tab
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
        tab = build_train_tab(services, build_workbench(services))
    return blocks, tab


@pytest.fixture(scope="module")
def form(services):
    """The form, and what each of the buttons above it fills in: title -> values by field."""
    with gr.Blocks() as blocks:
        form = build_train_form(services)
        buttons = {title: gr.Button(title) for title in [*PRESETS, "transfer"]}
        *presets, transfer = buttons.values()
        _wire_presets(services, form, gr.Dropdown([]), dict(zip(PRESETS, presets, strict=True)), transfer)
    names = {component._id: name for name, component in form.fields.items()}
    filled = {}
    for title, button in buttons.items():
        (clicked,) = [fn for fn in blocks.fns.values() if (button._id, "click") in fn.targets]
        filled[title] = dict(zip([names[output._id] for output in clicked.outputs], clicked.fn(), strict=True))
    return form, filled


def by_id(components, values) -> dict:
    return dict(zip([getattr(component, "elem_id", None) for component in components], values, strict=True))


def show(view, **given) -> tuple:
    """What the tab sends, given some of: opened tab, whether arms are compared, part, run, seen, compared, page."""
    first = dict.fromkeys(["tab", "is_comparing", "part", "run", "seen", "compared"]) | {"page": 0} | given
    return refresh(view, *first.values())


def test_a_comparison_is_followed_whenever_it_is_on_the_screen(built):
    """It froze after a visit to another tab."""
    for opened, is_comparing, active in (
        ("train", True, True),
        ("shift", True, False),
        ("train", True, True),
        ("train", False, False),
    ):
        values = show(built[1], tab=opened, is_comparing=is_comparing, part="curves")
        assert len(values) == len(built[1].outputs) and values[-1]["active"] is active


def test_a_run_chosen_on_a_later_page_leaves_the_list_where_it_is(built):
    """The list went back to its first page, and the boxes of the comparison were unticked."""
    blocks, tab = built
    (run,) = [part for part in blocks.blocks.values() if getattr(part, "elem_id", None) == "train-run"]
    follows = [fn for fn in blocks.fns.values() if (run._id, "change") in fn.targets]
    (followed,) = [fn for fn in follows if "runs-table" in [getattr(part, "elem_id", None) for part in fn.outputs]]
    chosen = {"train-run": RUNS[3], "runs-compare": [RUNS[1], RUNS[4]]}
    states = {"curves": "runs", 0: 1, None: None}  # value on a new page -> now: the part, the page, what is shown
    values = {part: chosen.get(getattr(part, "elem_id", None)) or states[part.value] for part in followed.inputs}
    updates = followed.fn(values)
    shown = by_id(followed.outputs, [updates.get(output, gr.skip()) for output in followed.outputs])
    updates = show(tab, tab="train", part="runs", run=RUNS[3], compared=[RUNS[1], RUNS[4]], page=1)
    for found in (shown, by_id(tab.outputs, updates)):
        assert f'data-run="{RUNS[3]}"' in found["runs-table"] and found["runs-table"].count("checked") == 2
        assert "Runs 21 to 30 of 30" in found["runs-where"] and "value" not in found["runs-compare"]
    closed = {part: "curves" if value == "runs" else value for part, value in values.items()}
    assert followed.fn(closed) == gr.skip()


@pytest.mark.parametrize("part", ["curves", "errors", "time", "runs"])
def test_every_part_can_be_brought_up_to_date(built, part):
    for run in (None, RUNS[0], "gone"):
        assert len(show(built[1], tab="train", part=part, run=run)) == len(built[1].outputs)


def test_nothing_is_deleted_without_a_question(built):
    names = {getattr(part, "elem_id", None) for part in built[0].blocks.values()}
    assert "runs-delete" in names and "train-delete" not in names


@pytest.mark.parametrize("title", [*PRESETS, "transfer"])
def test_a_preset_leaves_nothing_of_what_was_chosen_before(form, title):
    form, filled = form
    default = {name: field.value for name, field in form.fields.items()}
    preset = PRESETS.get(title, TRANSFER | {"dataset": "own"})
    before = {name: f"chosen {name}" for name in default}
    for name, value in (before | filled[title]).items():
        is_kept = name in KEPT or name.startswith("box_")
        assert value == (before[name] if is_kept else preset.get(name, default[name])), name


def test_a_preset_is_the_training_of_its_title(form, services):
    form, filled = form
    changed = {"optimizer": "adam", "learning_rate": 3.0, "augment": "own", "augment.noise": 1, "image_size": 64}
    changed |= {"label_noise": 0.5, "small_cnn.channels": "4, 4", "clutter": 1, "seed": 5, "name": "mine"}
    default = {name: field.value for name, field in form.fields.items()}
    config, name = form.read(default | changed | filled["Shapes only on the left, flatten"])
    place = {"data_root": str(services.lab.data_root), "device": DEVICE, "seed": 5, "shapes": {"position": "left"}}
    wanted = TrainingConfig(dataset="shapes", epochs=8, model={"head": "flatten"}, **place)
    assert name == "mine" and config == wanted
