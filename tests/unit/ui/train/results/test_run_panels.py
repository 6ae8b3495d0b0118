"""The panels of a run's errors and of its time slider: what they show of runs in any state."""

import os
import shutil
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from safetensors.torch import save_file

from lab.jobs import JobManager
from lab.runs.mistakes import open_errors
from lab.runs.snapshot_view import measure_scales, open_examples, view_snapshot
from lab.session import Lab
from models.checkpoints import pack_weights
from models.runs.files import write_json
from models.runs.process import record_process
from models.runs.run import read_run
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from tests.device import DEVICE
from tests.panels import refresh
from tests.sentences import refused
from ui.services import Services
from ui.train.results.mistakes import NO_RUN, NOT_YET, Mistakes, _read_cell
from ui.train.results.mistakes_view import (
    ANY,
    MAX_PICTURES,
    compare_errors,
    describe_errors,
    list_pairs,
    list_pictures,
    read_pair,
)
from ui.train.results.snapshots import Through
from ui.train.results.snapshots_view import describe_moment, draw_filters, draw_maps, draw_picture

COUNT, HARD = 30, 9


@pytest.fixture
def root(tmp_path, make_run):
    """Two finished runs over the same pictures: one with a snapshot and predictions of its own, one that is right."""
    root = tmp_path / "runs"
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (COUNT, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(COUNT) % 3
    for name in ("tiny", "right"):
        model, path = make_run(root, name), root / name
        save_file({"images": images, "labels": labels, "ids": torch.arange(COUNT)}, path / "examples.safetensors")
        with torch.no_grad():
            logits = model(images.float() / 255) if name == "tiny" else torch.eye(3)[labels] * 9
        save_file({"logits": logits}, path / "predictions.safetensors")
        hard = {"images": images.flip(2)[:HARD], "labels": labels[:HARD], "ids": 500 + torch.arange(HARD)}
        save_file(hard | {"logits": torch.eye(3)[(labels[:HARD] + 1) % 3]}, path / "hard_examples.safetensors")
        save_file(hard | {"logits": torch.eye(3)[labels[:HARD] // 2]}, path / "test_examples.safetensors")
    (root / "tiny" / "snapshots").mkdir()
    (root / "tiny" / "snapshots" / "0000000.safetensors").write_bytes(pack_weights(make_run(root, "tiny"))[0])
    return root


@pytest.fixture
def services(root) -> Services:
    return Services(Lab(DEVICE, runs_root=root), JobManager(root))


@pytest.fixture(params=[Mistakes, Through])
def panel(request, services):
    with gr.Blocks():
        return request.param(services, gr.Dropdown([]))


def test_every_state_of_a_run_fills_all_outputs(panel, root):
    create_run(root, "waiting", {"dataset": "insects"})
    (root / "broken").mkdir()
    (root / "broken" / "config.json").write_text("{")
    (root / "tiny" / "examples.safetensors").write_bytes(b"no such file")
    for name in (None, "right", "waiting", "broken", "gone", "tiny"):
        assert len(refresh(panel, name)) == len(panel.outputs)


def test_a_missing_run_is_said_and_hides_the_rest(panel):
    updates = dict(zip(panel.outputs, refresh(panel, "gone"), strict=True))
    assert "gone" in updates[panel.finding]
    assert updates[panel.body]["visible"] is False


def test_a_run_that_is_at_work_is_followed_and_others_are_not(panel, root):
    create_run(root, "waiting", {"dataset": "insects"})
    timer = panel.outputs.index(panel.timers[0])
    assert refresh(panel, "waiting")[timer]["active"]
    assert not refresh(panel, "tiny")[timer]["active"]


def test_errors_begin_with_the_largest_losses(services, root):
    with gr.Blocks():
        panel = Mistakes(services, gr.Dropdown([]))
    assert NO_RUN in refresh(panel, None)[0]
    create_run(root, "waiting", {"dataset": "insects"})
    assert NOT_YET in refresh(panel, "waiting")[0]
    values = refresh(panel, "tiny")
    assert "validation pictures right" in values[0]
    pictures = next(v for v in values if isinstance(v, list) and len(v) == MAX_PICTURES)
    assert all(path.is_file() for path, _ in pictures)


@pytest.fixture
def press(services):
    """``press(name, *values)``: what the handler of that name in the panel of mistakes returns."""
    with gr.Blocks():
        panel = Mistakes(services, gr.Dropdown([]))

    def call(name: str, *values):
        if name == "show_pictures":
            chosen = dict(zip((panel.run, *panel.chosen), (*values, None), strict=True))
            updates = panel.lister(panel.choose_classes)(chosen, gr.EventData(None, {}))
            return [updates.get(output, gr.skip()) for output in panel.pictures]
        found = getattr(panel.picture.corrections, name)(*values)
        return [found[output] for output in panel.picture.corrections.outputs] if isinstance(found, dict) else found

    return call


def test_a_cell_of_the_matrix_lists_validation_pictures(services):
    with gr.Blocks():
        panel = Mistakes(services, gr.Dropdown([]))
    values = dict.fromkeys([panel.run, *panel.chosen]) | {panel.run: "tiny", panel.part: "training"}
    updates = panel.lister(_read_cell)(values, gr.EventData(None, {"cell": [0, 0]}))
    assert [updates[each] for each in panel.chosen[:3]] == ["validation", 0, 0]
    assert "validation pictures of ant recognised" in updates[panel.heading]
    for wrong in ({}, {"cell": [0]}, {"cell": [0, -1]}, {"cell": [0, "1"]}, None, [1, 2]):
        with refused(error=gr.Error):
            panel.lister(_read_cell)(values, gr.EventData(None, wrong))


def test_hard_training_pictures_are_listed_when_asked_for(press):
    pairs, heading, gallery, shown, *_ = press("show_pictures", "tiny", "training", ANY, ANY)
    assert "The training pictures with the largest losses. The matrix above is that of the validation" in heading
    assert len(gallery) == HARD and shown == tuple(("training", index) for index in range(HARD))  # equal losses
    assert [value for _, value in pairs["choices"]] == ["0 1", "1 2", "2 0"]
    _, heading, gallery, shown, *_ = press("show_pictures", "tiny", "training", 1, 2)
    assert f"Of the {HARD} that are kept, 3 training pictures of bee taken for cat" in heading
    assert shown == (("training", 1), ("training", 4), ("training", 7))


def test_the_mistakes_of_the_test_set_are_listed_when_asked_for(press, root):
    """Of the classes 0, 1, 2 in turn, 0 is right, and 1 and 2 are each taken for the class before."""
    _, heading, gallery, shown, *_ = press("show_pictures", "tiny", "test", ANY, ANY)
    wrong = HARD - len(range(0, HARD, 3))
    assert f"The test pictures with the largest losses ({wrong} of {HARD} are wrong)" in heading
    assert len(gallery) == HARD and {index for _, index in shown[:wrong]} == {n for n in range(HARD) if n % 3}
    _, heading, *_ = press("show_pictures", "tiny", "test", 2, 1)
    assert f"{len(range(2, HARD, 3))} test pictures of cat taken for bee" in heading
    (root / "tiny" / "test_examples.safetensors").unlink()
    assert "has kept no test pictures" in press("show_pictures", "tiny", "test", ANY, ANY)[1]


def test_a_training_that_goes_on_or_was_stopped_has_no_training_pictures_and_says_so(press, root):
    (root / "tiny" / "hard_examples.safetensors").unlink()
    for state, said in (("stopped", "has kept no training pictures: it ended early"), ("running", "are kept when")):
        write_json(root / "tiny" / "status.json", {"state": state, "kind": "training", "submitted": 1})
        record_process(root / "tiny", os.getpid())
        pairs, heading, gallery, shown, *_ = press("show_pictures", "tiny", "training", ANY, ANY)
        assert said in heading and 'class="empty"' in heading
        assert (pairs["choices"], gallery, shown) == ([], None, ())
        assert "validation pictures of ant" in press("show_pictures", "tiny", "validation", 0, ANY)[1]


def test_damaged_training_pictures_leave_the_rest_as_it_is(press, panel, root):
    """A capsule may come from anyone."""
    (root / "tiny" / "hard_examples.safetensors").write_bytes(b"no such file")
    _, heading, gallery, shown, *_ = press("show_pictures", "tiny", "training", ANY, ANY)
    assert "is damaged" in heading and gallery is None and shown == ()
    assert refresh(panel, "tiny")[panel.outputs.index(panel.body)]["visible"]


@pytest.fixture
def started(services, root, monkeypatch):
    """Trainings that were started, as runs that wait for their turn."""
    for name in ("tiny", "right"):
        write_json(root / name / "config.json", TrainingConfig(dataset="shapes").to_dict())
    made = []

    def start(config, name, **options):
        made.append(config)
        create_run(root, name, config.to_dict())

    monkeypatch.setattr(services.jobs, "start", start)
    return made


def test_corrections_of_both_parts_stand_in_one_list_and_become_one_run(press, services, started):
    listed, _ = press("add_label", "tiny", ("training", 2), 0)
    assert all(f"<td>{cell}</td>" in listed for cell in (502, "training", "cat", "ant"))
    listed, _ = press("add_exclusion", "tiny", ("validation", 3))
    assert "<td>502</td><td>training</td><td>cat</td><td>ant</td>" in listed
    assert "<td>3</td><td>validation</td><td>ant</td><td>left out</td>" in listed
    assert "2 corrections to tiny, not trained with" in listed
    assert "training pictures change what is trained on" in listed
    press("train", "tiny")
    assert [config.corrections for config in started] == [{"3": None, "502": 0}]
    assert services.jobs.read("tiny-corrected-1").notes == "tiny with 2 more corrections."
    press("take_back", "tiny")
    listed, actions = press("take_back", "tiny")
    assert listed == "" and actions["visible"] is False


def test_corrections_are_those_of_the_run_that_is_shown_and_survive_a_reload(press, services, started):
    press("add_label", "tiny", ("training", 2), 0)

    def corrections(name):
        """As a page that has just been opened shows them."""
        with gr.Blocks():
            panel = Mistakes(services, gr.Dropdown([]))
        values = dict(zip(panel.outputs, refresh(panel, name), strict=True))
        listed = next(c for c in panel.outputs if getattr(c, "elem_id", None) == "errors-corrections")
        return values[listed]

    assert "1 correction to tiny" in corrections("tiny") and corrections("right") == corrections(None) == ""
    assert "1 correction to tiny" in corrections("tiny")
    with refused():
        press("train", "right")


def test_a_correction_that_was_trained_with_is_said_to_be(press, started, root):
    press("add_label", "tiny", ("training", 2), 0)
    press("train", "tiny")
    with refused("tiny-corrected-1"):
        press("train", "tiny")
    listed, _ = press("add_exclusion", "tiny", ("training", 3))
    assert "2 corrections to tiny, 1 of them not trained with yet" in listed
    assert "<td>ant</td><td>tiny-corrected-1 (queued)</td>" in listed and "<td>not yet</td>" in listed
    press("train", "tiny")
    assert started[1].corrections == {"502": 0, "503": None}
    listed, _ = press("add_label", "tiny", ("training", 2), 1)  # changed its mind: that is new
    assert "2 corrections to tiny, 1 of them not trained with yet" in listed
    listed, _ = press("take_back", "tiny")
    assert "2 corrections to tiny, all trained with." in listed
    for name in ("tiny-corrected-1", "tiny-corrected-2"):
        shutil.rmtree(root / name)
    press("add_label", "tiny", ("training", 2), 1)
    listed, _ = press("take_back", "tiny")
    assert "2 corrections to tiny, not trained with yet." in listed


def test_a_run_that_kept_no_snapshots_says_so(services):
    with gr.Blocks():
        panel = Through(services, gr.Dropdown([]))
    assert "no snapshots" in refresh(panel, "right")[0]


def test_the_sentence_has_the_numbers(root):
    view = open_errors(read_run(root, "tiny"))
    right = int((view.confusion.labels == view.confusion.predicted).sum())
    text = describe_errors(read_run(root, "tiny"), view.confusion)
    assert f"{100 * right / COUNT:.1f} %" in text
    assert f"of {COUNT} validation pictures right, {COUNT - right} wrong" in text


def test_a_pair_of_the_list_names_its_two_classes(root):
    found = open_errors(read_run(root, "tiny")).confusion
    for pair, (label, value) in zip(found.most_confused(12), list_pairs(found), strict=True):
        assert read_pair(value) == (pair.true, pair.predicted)
        assert f"{found.categories[pair.true]} → {found.categories[pair.predicted]}: {pair.count}" in label
    assert read_pair(None) == (ANY, ANY)


def test_captions_belong_to_their_pictures(root):
    view = open_errors(read_run(root, "tiny"))
    heading, pictures, chosen = list_pictures(view, ANY, None)
    assert len(pictures) == len(chosen) == MAX_PICTURES
    assert f"the first {MAX_PICTURES} are shown" in heading
    for (_, caption), index in zip(pictures, chosen, strict=True):
        assert f"loss {view.confusion.losses[index]:.2f}" in caption
        assert view.confusion.categories[view.confusion.labels[index]] in caption
    heading, pictures, chosen = list_pictures(view, 1, 1)
    assert "of bee recognised" in heading
    assert set(view.confusion.labels[list(chosen)].tolist()) <= {1}


def test_the_change_from_another_run_is_drawn_only_over_the_same_classes(services, root):
    run = services.jobs.read("right")
    view = open_errors(run)
    text, chart = compare_errors(services, run, view, "tiny")
    assert "right: 100.0 %" in text
    assert chart["visible"]
    wrong = open_errors(services.jobs.read("tiny")).confusion.counts
    assert chart["value"].data[0].z[0][0] == int(view.confusion.counts[0, 0] - wrong[0, 0])
    card = (root / "tiny" / "model.json").read_text()
    (root / "tiny" / "model.json").write_text(card.replace('"ant"', '"wasp"'))
    text, chart = compare_errors(services, run, view, "tiny")
    assert "same classes" in text
    assert not chart["visible"]
    assert compare_errors(services, run, view, None) == ("", chart)


def test_names_from_files_cannot_become_part_of_the_page(services, root):
    card = (root / "tiny" / "model.json").read_text()
    (root / "tiny" / "model.json").write_text(card.replace('"ant"', '"<b>ant"'))
    run = services.jobs.read("tiny")
    view, moment = open_errors(run), view_snapshot(services.lab, run, 0, 0)
    pages = [list_pictures(view, 0, None)[0], describe_errors(run, view.confusion)]
    pages += [describe_moment(run, [0], 0, moment), draw_picture(open_examples(run), moment, measure_scales(moment))]
    assert all("<b>ant" not in page for page in pages)
    assert any("&lt;b&gt;ant" in page for page in pages)


@pytest.mark.parametrize("total", [40, None])
def test_a_moment_is_placed_in_the_training(services, root, total):
    path = root / "tiny" / "status.json"
    state = {"state": "finished", "kind": "training", "submitted": 1}
    write_json(path, state | ({"total_steps": total, "epochs": 4} if total else {}))
    run, moment = services.jobs.read("tiny"), view_snapshot(services.lab, services.jobs.read("tiny"), 0, 0)
    assert "Before the first step" in describe_moment(run, [0, 10], 0, moment)
    text = describe_moment(run, [0, 10], 10, moment)
    assert ("After step 10 of 40, epoch 1.0 of 4" if total else "After step 10 of 10:") in text


def test_what_a_network_does_not_have_is_not_drawn():
    nothing = SimpleNamespace(filters=None, maps=None)
    scales = SimpleNamespace(filters=0.0, maps=0.0, is_signed=False, saliency=0.0)
    assert "cannot be drawn" in draw_filters(nothing, scales)
    assert "no feature maps" in draw_maps(nothing, scales)


def test_the_slider_grows_with_a_training_and_its_end_is_drawn_now_and_then(services, root, monkeypatch):
    with gr.Blocks():
        panel = Through(services, gr.Dropdown([]))
    path = root / "tiny"
    write_json(path / "status.json", {"state": "running", "kind": "training", "submitted": 1})
    record_process(path, os.getpid())
    values = {part: getattr(part, "value", None) for part in panel.inputs} | {panel.run: "tiny", panel.slider: 1}

    def look(at: float, **now) -> dict:
        monkeypatch.setattr("ui.train.results.snapshots.time.monotonic", lambda: at)
        found = panel.follow(values | now)
        return {} if found == gr.skip() else found

    values |= {part: update for part, update in look(0).items() if part is panel.seen}
    assert values[panel.seen][2:] == (1, True, 1, 0) and look(5) == {}
    first = path / "snapshots" / "0000000.safetensors"
    shutil.copy(first, path / "snapshots" / "0000001.safetensors")
    grown = look(5)
    assert grown[panel.slider] == gr.update(maximum=2) and panel.looked_at not in grown
    values[panel.seen] = grown[panel.seen]
    assert look(6) == {}
    assert look(30)[panel.slider] == gr.update(maximum=2, value=2) and panel.looked_at in look(30)
    write_json(path / "status.json", {"state": "finished", "kind": "training", "submitted": 1})
    assert panel.looked_at in look(6) and look(6)[panel.timer]["active"] is False
