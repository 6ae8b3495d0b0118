"""The curves of a training: what is said about it, and that following it sends only what is new."""

import json
import os
from pathlib import Path

import gradio as gr
import pytest

from lab.jobs import JobManager
from lab.session import Lab
from models.runs.files import write_bytes, write_json
from models.runs.process import read_clock, record_process
from models.runs.run import STATES, Run
from models.runs.submit import create_run
from tests.device import DEVICE
from tests.panels import refresh
from tests.unit.ui.widgets.test_html import EVIL, Reader
from ui.services import Services
from ui.train.results.curves import EXTRA_CURVES, NO_RUN, build_curves_panel, describe_run

RESULT = {"val_accuracy": 0.9, "test_accuracy": 0.875, "seconds": 12.4, "epochs": 3, "weights_sha256": "0" * 64}
STEP = {"kind": "step", "epoch": 1, "step": 4, "train_loss": 1.5, "train_accuracy": 0.4, "learning_rate": 0.1}
EPOCH = {**STEP, "kind": "epoch", "step": 7, "val_loss": 1.2, "val_accuracy": 0.5, "samples_per_second": 100.0}
LAYERS = {
    "kind": "layers",
    "epoch": 1,
    "step": 7,
    "layers": [
        {"name": "conv", "weight_norm": 2.0, "gradient_norm": 0.1},
        {"name": "act", "dead": 1, "saturated": 2, "channels": 8},
    ],
}


@pytest.fixture
def services(tmp_path) -> Services:
    root = tmp_path / "runs"
    root.mkdir()
    return Services(Lab(DEVICE, tmp_path, root), JobManager(root))


@pytest.fixture
def panel(services):
    with gr.Blocks() as blocks:
        found = build_curves_panel(services, gr.Dropdown([]))
    (watched,) = [entry for entry in blocks.fns.values() if entry.name == "watch"]

    def watch(*values):
        updates = watched.fn(*values)
        return updates if is_silent(updates) else tuple(updates[output] for output in watched.outputs)

    return found, watch


def write_run(services, name="a", metrics=(), **status):
    path = services.jobs.runs_root / name
    if not path.exists():
        create_run(services.jobs.runs_root, name, {"dataset": "shapes"})
    known = json.loads((path / "status.json").read_text())
    write_json(path / "status.json", known | {"total_steps": 21, "epochs": 3} | status)
    write_bytes(path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in metrics).encode())
    return path


def shown(panel, values) -> dict:
    """What a refresh sends, by the id of the component."""
    return dict(zip([getattr(output, "elem_id", None) for output in panel.outputs], values, strict=True))


def is_silent(values) -> bool:
    return isinstance(values, dict) and values.get("__type__") == "update" and set(values) == {"__type__"}


def test_without_a_run_the_panel_says_how_to_get_one(panel):
    for nothing in (None, ""):
        values = refresh(panel[0], nothing)
        assert len(values) == len(panel[0].outputs)
        found = shown(panel[0], values)
        assert NO_RUN in found["train-status"] and found["train-loss"] is None
        assert values[1]["visible"] is False and values[-1]["active"] is True


def test_a_run_that_is_gone_is_said_in_words(panel):
    found = shown(panel[0], refresh(panel[0], "nobody"))
    assert "no run named nobody" in found["train-status"].lower()
    *_, version, _ = refresh(panel[0], "nobody")
    assert is_silent(panel[1]("nobody", version))


def test_curves_are_those_of_the_run(services, panel):
    write_run(services, metrics=[STEP, LAYERS, EPOCH], state="finished", step=21, epoch=3, result=RESULT)
    values = refresh(panel[0], "a")
    found = shown(panel[0], values)
    assert values[1]["visible"] is True
    assert "87.5%" in found["train-status"]
    for kind in ("loss", "accuracy"):
        traces = {trace.name: trace for trace in found[f"train-{kind}"].data}
        # 21 steps are 3 epochs, so step 7 is the end of the first.
        assert any(list(trace.x)[-1] == pytest.approx(1.0) for trace in traces.values() if len(trace.x or ()))
    for kind in EXTRA_CURVES:
        assert found[f"train-{kind}"]["visible"] is True


def test_charts_without_numbers_stay_hidden(services, panel):
    write_run(services, metrics=[], state="finished", result=RESULT)
    assert refresh(panel[0], "a")[1]["visible"] is False
    write_run(services, metrics=[STEP], state="finished", result=RESULT)  # no line about layers
    values = refresh(panel[0], "a")
    assert values[1]["visible"] is True
    assert [shown(panel[0], values)[f"train-{kind}"]["visible"] for kind in ("weights", "dead")] == [False] * 2


def test_only_what_is_new_is_sent(services, panel):
    panel, watch = panel
    path = write_run(services, metrics=[STEP], state="finished", result=RESULT)
    first = watch("a", None)
    assert len(first) == len(panel.outputs) - 1
    version = json.loads(json.dumps(first[-1]))  # as the browser's session gives it back
    assert is_silent(watch("a", version)) and is_silent(watch("a", version))
    with (path / "metrics.jsonl").open("ab") as file:
        file.write(json.dumps(EPOCH).encode() + b"\n")
    second = watch("a", version)
    assert not is_silent(second) and is_silent(watch("a", second[-1]))
    write_run(services, metrics=[STEP, EPOCH], state="failed", message="The disk is full.")
    third = watch("a", second[-1])
    assert "The disk is full." in third[0]
    write_run(services, "b", metrics=[STEP, EPOCH], state="failed", message="The disk is full.")
    assert not is_silent(watch("b", third[-1]))  # another run that looks the same
    none = watch(None, third[-1])
    assert NO_RUN in none[0] and is_silent(watch(None, none[-1]))


@pytest.mark.parametrize("state", STATES)
def test_every_state_can_be_shown(services, panel, state):
    write_run(services, metrics=[STEP], state=state, message="Because.")
    found = shown(panel[0], refresh(panel[0], "a"))
    assert "a: " in found["train-status"]


@pytest.mark.parametrize(
    "line",
    [
        {"kind": "epoch"},
        {"kind": "epoch", "step": "7", "train_loss": "low", "val_loss": [1], "val_accuracy": None},
        {"kind": "layers", "step": 1, "layers": [{"name": 3}, 5]},
        {"kind": "layers", "layers": "none"},
        {"kind": 7, "step": -1},
    ],
)
def test_odd_lines_of_a_run_that_came_from_elsewhere_do_no_harm(services, panel, line):
    write_run(services, metrics=[STEP, line, EPOCH], state="finished", result=RESULT)
    found = shown(panel[0], refresh(panel[0], "a"))
    assert found["train-loss"] is not None and "87.5%" in found["train-status"]


def test_odd_numbers_of_steps_do_no_harm(services, panel):
    for status in ({"total_steps": 0, "epochs": 0}, {"total_steps": None, "epochs": "many"}, {"epochs": -3}):
        write_run(services, metrics=[STEP, EPOCH], state="finished", result=RESULT, **status)
        assert shown(panel[0], refresh(panel[0], "a"))["train-loss"] is not None


def test_what_files_say_is_text_and_no_markup(services, panel):
    problems = {"message": EVIL, "warning": EVIL, "skipped": [EVIL, "b.png: too small"]}
    path = write_run(services, metrics=[STEP], state="failed", **problems)
    (path / "log.txt").write_text(EVIL)
    found = refresh(panel[0], "a")
    assert EVIL not in found[0] and "2 files were left out" in found[0]
    assert not {"script", "img"} & set(Reader(found[0]).tags) and "b.png: too small" in found[0]


def test_files_that_were_left_out_are_counted(services, panel):
    write_run(services, state="finished", result=RESULT, skipped=["a.png: too small"])
    assert "1 file was left out" in refresh(panel[0], "a")[0]


def test_a_warning_stays_below_the_finding(services, panel):
    write_run(services, state="finished", result=RESULT, warning="2 test pictures look almost like others.")
    assert "2 test pictures look almost like others." in refresh(panel[0], "a")[0]


def test_many_left_out_files_are_counted_as_at_least_a_hundred(services, panel):
    write_run(services, state="finished", result=RESULT, skipped=[f"{i}.png" for i in range(100)])
    assert "100 or more files were left out" in refresh(panel[0], "a")[0]


def run(state: str, message: str = "", **status) -> Run:
    return Run("a", Path("/nowhere/a"), state, message, {}, status)


@pytest.mark.parametrize(
    ("found", "before", "words"),
    [
        (run("queued"), 0, "a: queued.  It is about to start."),
        (run("queued"), 1, "a: queued.  It waits: 1 job before it on this device."),
        (run("queued"), 3, "a: queued.  It waits: 3 jobs before it on this device."),
        (run("preparing", "Drawing shapes (50%)"), 0, "a: preparing. Drawing shapes (50%)"),
        (run("running"), 0, "a: running."),
        (
            run("running", samples_per_second=1234.0, epoch=0, epochs=5, seconds_left=61.4),
            0,
            "a: running, epoch 1 of 5, 1,234 pictures a second, about 61 s left.",
        ),
        (run("stopped"), 0, "a: stopped."),
        (run("failed", "The disk is full."), 0, "a: failed. The disk is full."),
        (
            run("finished", result=RESULT),
            0,
            "a: finished after 3 epochs and 12 s, test accuracy 87.5%, validation 90.0%.",
        ),
        # Stopped before anything was measured.
        (run("stopped", result={**RESULT, "val_accuracy": None, "test_accuracy": None}), 0, "a: stopped."),
    ],
)
def test_a_training_in_a_sentence(found, before, words):
    assert " ".join(describe_run(found, before).split()) == " ".join(words.split())


def test_a_training_whose_process_is_silent_has_no_time_left(panel, services):
    speed = {"samples_per_second": 100.0, "seconds_left": 19.0, "epoch": 1, "epochs": 3}
    heard = {name: part - 40 if name != "boot" else part for name, part in read_clock().items()}
    write_run(services, state="running", **speed)
    record_process(services.jobs.runs_root / "a", os.getpid())
    text, *_, version = panel[1]("a", None)
    assert "about 19 s left" in text
    write_run(services, state="running", **speed, heard=heard)
    text, *_, later = panel[1]("a", version)
    assert "100 pictures a second, last heard of 40 s ago." in text and "left" not in text
    assert panel[1]("a", later) == gr.skip()


def test_a_stopped_training_with_a_model_can_be_used(services, make_run):
    make_run(services.jobs.runs_root, "a")
    write_run(services, state="stopped", result=None)
    words = describe_run(services.jobs.read("a"))
    assert "The model so far can be used" in words and "Go on" in words
