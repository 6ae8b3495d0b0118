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
from models.runs.run import STATES, UNFINISHED, Run
from models.runs.submit import create_run
from tests.device import DEVICE
from tests.panels import refresh
from tests.unit.ui.widgets.test_html import EVIL, Reader
from ui.services import Services
from ui.train.results.curves import CHARTS, NO_RUN, Curves, describe_run, find_epoch

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
    with gr.Blocks():
        return Curves(services, gr.Dropdown([]))


def write_run(services, name="a", metrics=(), **status):
    path = services.jobs.runs_root / name
    if not path.exists():
        create_run(services.jobs.runs_root, name, {"dataset": "shapes"})
    known = json.loads((path / "status.json").read_text())
    write_json(path / "status.json", known | {"total_steps": 21, "epochs": 3} | status)
    write_bytes(path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in metrics).encode())
    return path


def shown(panel, name, last=None) -> dict:
    """What is sent: status as HTML, charts as a document, whether the run is followed, and the new version."""
    updates = panel.look(name, last)
    names = {panel.status: "status", panel.charts: "charts", panel.timer: "timer", panel.seen: "seen"}
    found = {names[part]: update for part, update in updates.items()}
    if "charts" in found:
        found["charts"] = json.loads(found["charts"])
    if "seen" in found:  # as the browser's session gives it back
        found["seen"] = json.loads(json.dumps(found["seen"]))
    return found


def lines(charts: dict, name: str) -> dict:
    return {line["name"]: line for line in charts["charts"][name]["series"]}


def test_without_a_run_the_panel_says_how_to_get_one(panel):
    for nothing in (None, ""):
        found = shown(panel, nothing)
        assert NO_RUN in found["status"] and found["charts"] == {} and found["timer"]["active"] is False
        assert shown(panel, nothing, found["seen"]) == {}
    assert len(refresh(panel, None)) == len(panel.outputs)


def test_a_run_that_is_gone_is_said_in_words(panel):
    found = shown(panel, "nobody")
    assert "no run named nobody" in found["status"].lower()
    assert shown(panel, "nobody", found["seen"]) == {}


def test_curves_are_those_of_the_run(services, panel):
    write_run(services, metrics=[STEP, LAYERS, EPOCH], state="finished", step=21, epoch=3, result=RESULT)
    found = shown(panel, "a")
    assert "87.5 %" in found["status"] and found["charts"]["run"] == "a"
    # 21 steps are 3 epochs, so step 7 is the end of the first.
    loss, accuracy = lines(found["charts"], "loss"), lines(found["charts"], "accuracy")
    assert loss["training"]["x"] == [0.571429, 1.0] and loss["training"]["y"] == [1.5, 1.5]
    assert (loss["validation"]["x"], loss["validation"]["y"]) == ([1.0], [1.2])
    assert accuracy["gap"]["y"] == [-0.1] and accuracy["gap"]["fill"] and accuracy["gap"]["dash"]
    assert list(found["charts"]["charts"]) == list(CHARTS)
    assert all(chart["series"] for chart in found["charts"]["charts"].values())


def test_charts_without_numbers_have_no_lines(services, panel):
    write_run(services, metrics=[STEP], state="finished", result=RESULT)  # no line about layers
    charts = shown(panel, "a")["charts"]["charts"]
    assert charts["loss"]["series"] and not charts["weights"]["series"] and not charts["dead"]["series"]


def test_a_run_that_does_not_tell_the_length_of_an_epoch_is_measured_by_its_records(services, panel):
    """As one from a capsule: its epochs were counted in steps."""
    later = EPOCH | {"epoch": 2, "step": 14}
    write_run(services, metrics=[STEP, EPOCH, later], state="finished", total_steps=None, epochs=None)
    found = shown(panel, "a")
    assert find_epoch(services.jobs.read("a")) == 7
    assert lines(found["charts"], "loss")["validation"]["x"] == [1.0, 2.0]
    assert found["charts"]["charts"]["loss"]["x"] == "epoch"
    write_run(services, metrics=[STEP], state="finished", total_steps=None, epochs=None)
    charts = shown(panel, "a")["charts"]["charts"]
    assert charts["loss"]["x"] == "step" and charts["loss"]["series"][0]["x"] == [4]


def test_only_what_is_new_is_sent(services, panel):
    path = write_run(services, metrics=[STEP], state="finished", result=RESULT)
    first = shown(panel, "a")
    assert shown(panel, "a", first["seen"]) == {}
    with (path / "metrics.jsonl").open("ab") as file:
        file.write(json.dumps(EPOCH).encode() + b"\n")
    second = shown(panel, "a", first["seen"])
    training, validation = second["charts"]["more"]["loss"]["series"]
    assert training == {"name": "training", "x": [1.0], "y": [1.5]}
    assert validation["color"] and validation["x"] == [1.0]  # a new line, with its looks
    assert shown(panel, "a", second["seen"]) == {}
    write_run(services, metrics=[STEP, EPOCH, LAYERS], state="finished", result=RESULT)
    weights = shown(panel, "a", second["seen"])["charts"]["more"]["weights"]
    assert weights["y"] == "norm of the weights" and weights["log"]  # a new chart
    write_run(services, metrics=[STEP, EPOCH], state="failed", message="The disk is full.")
    third = shown(panel, "a", second["seen"])
    assert "The disk is full." in third["status"] and "charts" not in third
    write_run(services, "b", metrics=[STEP, EPOCH], state="failed", message="The disk is full.")
    assert "charts" in shown(panel, "b", third["seen"])["charts"]  # another run that looks the same
    none = shown(panel, None, third["seen"])
    assert NO_RUN in none["status"] and shown(panel, None, none["seen"]) == {}


def test_what_was_taken_back_is_sent_anew(services, panel):
    write_run(services, metrics=[STEP, EPOCH], state="stopped")
    last = shown(panel, "a")["seen"]
    write_run(services, metrics=[STEP], state="running")
    assert lines(shown(panel, "a", last)["charts"], "loss")["training"]["x"] == [0.571429]


def test_the_log_is_sent_when_the_run_is_opened_and_never_by_the_timer(services, panel):
    (write_run(services, metrics=[STEP], state="running") / "log.txt").write_text("epoch 1")
    updates = panel.refresh({panel.run: "a", panel.seen: None})
    assert updates[panel.log] == "epoch 1"
    assert panel.log not in panel.look("a", None)


@pytest.mark.parametrize("state", STATES)
def test_every_state_can_be_shown(services, panel, state):
    write_run(services, metrics=[STEP], state=state, message="Because.")
    found = shown(panel, "a")
    assert "a: " in found["status"] and found["timer"]["active"] is (state in UNFINISHED)


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
    found = shown(panel, "a")
    assert lines(found["charts"], "loss")["training"]["x"] and "87.5 %" in found["status"]


def test_odd_numbers_of_steps_do_no_harm(services, panel):
    for status in ({"total_steps": 0, "epochs": 0}, {"total_steps": None, "epochs": "many"}, {"epochs": -3}):
        write_run(services, metrics=[STEP, EPOCH], state="finished", result=RESULT, **status)
        assert lines(shown(panel, "a")["charts"], "loss")["training"]["x"]


def test_what_files_say_is_text_and_no_markup(services, panel):
    problems = {"message": EVIL, "warning": EVIL, "skipped": [EVIL, "b.png: too small"]}
    path = write_run(services, metrics=[STEP], state="failed", **problems)
    (path / "log.txt").write_text(EVIL)
    text = shown(panel, "a")["status"]
    assert EVIL not in text and "2 files were left out" in text
    assert not {"script", "img"} & set(Reader(text).tags) and "b.png: too small" in text


def test_files_that_were_left_out_are_counted(services, panel):
    write_run(services, state="finished", result=RESULT, skipped=["a.png: too small"])
    assert "1 file was left out" in shown(panel, "a")["status"]


def test_a_warning_stays_below_the_finding(services, panel):
    write_run(services, state="finished", result=RESULT, warning="2 test pictures look almost like others.")
    assert "2 test pictures look almost like others." in shown(panel, "a")["status"]


def test_many_left_out_files_are_counted_as_at_least_a_hundred(services, panel):
    write_run(services, state="finished", result=RESULT, skipped=[f"{i}.png" for i in range(100)])
    assert "100 or more files were left out" in shown(panel, "a")["status"]


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
            "a: finished after 3 epochs and 12 s, test accuracy 87.5 %, validation 90.0 %.",
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
    first = shown(panel, "a")
    assert "about 19 s left" in first["status"]
    write_run(services, state="running", **speed, heard=heard)
    second = shown(panel, "a", first["seen"])
    assert "100 pictures a second, last heard of 40 s ago." in second["status"] and "left" not in second["status"]
    assert shown(panel, "a", second["seen"]) == {}


def test_a_stopped_training_with_a_model_can_be_used(services, make_run):
    make_run(services.jobs.runs_root, "a")
    write_run(services, state="stopped", result=None)
    words = describe_run(services.jobs.read("a"))
    assert "The model so far can be used" in words and "Go on" in words
