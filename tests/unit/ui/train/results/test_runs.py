"""The Runs panel: what it lists, what follows a change of a run, and what is asked before something is lost."""

import hashlib
import zipfile
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest

from analysis.errors import UserError
from lab.jobs import JobManager
from lab.runs.compare import Comparison, RunRow
from lab.session import Lab
from models import onnx_export
from models.registry import DEFAULT_MODEL
from models.runs.files import write_bytes, write_json
from models.runs.run import STATES, UNFINISHED, read_run
from models.runs.submit import create_run
from tests.device import DEVICE
from tests.panels import refresh
from tests.sentences import refused
from tests.unit.ui.widgets.test_html import EVIL, Reader
from ui.services import Services
from ui.train.results.downloads import FILES
from ui.train.results.run_actions import ENDED
from ui.train.results.runs import PAGE_SIZE, Runs, _pick, follow_change
from ui.train.results.runs_table import HEADINGS, MAX_NOTE, comparison_html, describe_comparison, runs_html
from ui.workbench import build_workbench

ROW = RunRow("a", "finished", "shapes", "small_cnn", 49718, 0.995, 0.99, None, 19.8, 0, "")


@pytest.fixture
def services(tmp_path) -> Services:
    root = tmp_path / "runs"
    root.mkdir()
    return Services(Lab(DEVICE, tmp_path, root), JobManager(root))


@pytest.fixture
def lists(services):
    """The panel."""
    with gr.Blocks():
        return Runs(services, gr.Dropdown([]), build_workbench(services))


def show(lists, run=None, compared=(), page=0, seen=None) -> dict:
    """What a look at the runs sends, by the id of the component; the new version as ``seen``."""
    values = dict(zip(lists.inputs, (run, page, seen, list(compared), "val_accuracy", None), strict=True))
    updates = lists.look(values)
    found = {getattr(part, "elem_id", None): updates.get(part, gr.skip()) for part in lists.outputs}
    return found | {"seen": updates.get(lists.seen)}


@pytest.fixture
def finish(services, make_run):
    """Makes a finished run that can be packed."""

    def make(name):
        root = services.jobs.runs_root
        make_run(root, name)
        path = root / name
        sha256 = hashlib.sha256((path / "weights.safetensors").read_bytes()).hexdigest()
        result = {"val_accuracy": 0.5, "test_accuracy": 0.25, "seconds": 1.5, "epochs": 2, "weights_sha256": sha256}
        write_json(path / "status.json", read_run(root, name).status | {"result": result})
        write_bytes(path / "metrics.jsonl", b'{"kind": "epoch", "epoch": 1, "step": 3, "val_accuracy": 0.5}\n')
        return path

    return make


def test_without_runs_the_panel_says_how_to_get_one(lists):
    shown = show(lists)
    assert "open a capsule" in shown["runs-table"]
    assert shown["runs-chosen"]["visible"] is False
    assert refresh(lists)[-1]["active"] is False


def test_the_list_is_followed_while_a_training_goes_on(services, lists):
    create_run(services.jobs.runs_root, "waiting", {})
    assert refresh(lists)[-1]["active"] is True


def test_two_hundred_runs_are_paged_and_all_can_be_compared(services, lists):
    for number in range(200):
        path = create_run(services.jobs.runs_root, f"r{number}", {"dataset": "shapes", "seed": number})
        write_json(path / "status.json", {"state": "finished", "kind": "training", "submitted": number})
    first, last, beyond = (show(lists, None, [], number) for number in (0, 9, 10**6))
    assert first["runs-table"].count("<tr>") == PAGE_SIZE + 1
    assert 'data-run="r199"' in first["runs-table"] and 'data-run="r180"' in first["runs-table"]
    assert 'data-run="r179"' not in first["runs-table"]
    assert "Runs 1 to 20 of 200" in first["runs-where"] and "Runs 181 to 200" in last["runs-where"]
    assert (first["runs-newer"]["interactive"], first["runs-older"]["interactive"]) == (False, True)
    assert (last["runs-newer"]["interactive"], last["runs-older"]["interactive"]) == (True, False)
    assert beyond["runs-table"] == last["runs-table"]
    assert len(first["runs-compare"]["choices"]) == 200


def test_a_waiting_run_shows_its_place_behind_runs_of_every_kind(services, lists):
    root = services.jobs.runs_root
    for number, (name, kind) in enumerate((("bench", "repair"), ("next", "training"), ("last", "training"))):
        create_run(root, name, {}, kind)
        status = {"state": "queued", "kind": kind, "submitted": read_run(root, name).status["submitted"] + number}
        write_json(root / name / "status.json", status | {"device": DEVICE})
    html = show(lists)["runs-table"]
    assert "queued, 2 jobs before it" in html and "queued, 1 job before it" in html
    assert "bench" not in html


def test_what_has_not_changed_is_not_sent_again(lists, finish):
    finish("a")
    first = show(lists, "a", ["a"])
    again = show(lists, "a", ["a"], 0, first["seen"])
    assert all(again[part] == gr.skip() for part in ("runs-table", "runs-where", "runs-heading", "runs-compare"))
    assert not any(first[part] == gr.skip() for part in ("runs-table", "runs-where", "runs-heading", "runs-compare"))


def test_what_is_being_typed_stays_while_the_run_goes_on(services, lists, finish):
    path = finish("a")
    status = read_run(services.jobs.runs_root, "a").status
    version = show(lists, "a")["seen"]
    write_json(path / "status.json", status | {"state": "stopped"})
    shown = show(lists, "a", [], 0, version)
    assert shown["runs-delete"]["visible"] is True
    assert shown["runs-name"] == shown["runs-notes"] == gr.skip()
    finish("b")
    shown = show(lists, "b", [], 0, version)
    assert (shown["runs-name"], shown["runs-notes"]) == ("b", "")
    services.jobs.write_notes("a", "from another window")
    assert show(lists, "a", [], 0, version)["runs-notes"] == "from another window"


def test_runs_that_are_gone_are_no_longer_compared(lists, finish):
    finish("a")
    version = show(lists, "a", ["a"])["seen"]
    shown = show(lists, "gone", ["a", "gone"], 0, version)
    assert shown["runs-compare"]["value"] == ["a"]
    assert shown["runs-chosen"]["visible"] is False


def test_a_click_into_the_table_chooses_or_compares(lists, finish, monkeypatch):
    said = []
    for name in "abcdefg":
        finish(name)
    names = list("abcdefg")
    assert _pick(names, ["a", "gone"], {"b": True, "gone": True, "c": False}) == ["a", "b"]
    assert _pick(names, ["a", "b"], {"a": False, "b": True}) == ["b"]
    assert _pick(names, [], {"b": True, "a": True}) == ["a", "b"]  # both boxes, also where the first is still unknown
    for nothing in (None, [], "a", {"a": None}):
        assert _pick(names, ["b"], nothing) == ["b"]
    monkeypatch.setattr(gr, "Warning", lambda message, title: said.append(message))
    assert _pick(names, list("abcdef"), {"g": True}) == list("abcdef")
    assert "At most 6" in said[0]
    values = dict.fromkeys(lists.inputs) | {lists.run: "a", lists.comparison.measure: "val_accuracy"}
    choose = lists.chooser(lambda values: {lists.run: values[lists.run]})
    assert choose(values, gr.EventData(None, {"choose": "b"})) == {lists.run: "b"}
    for event in ({"choose": "../a"}, {"choose": ["a"]}, {}, None, [1], "x"):
        with refused(error=gr.Error):
            choose(values, gr.EventData(None, event))
    updates = lists.compare(values, gr.EventData(None, {"ticked": {"b": True, "c": True}}))
    assert updates[lists.comparison.chosen]["value"] == ["c", "b"]  # the newest first
    assert "Best validation accuracy" in updates[lists.comparison._results]


def test_a_comparison_shows_curves_and_is_sent_once(lists, finish):
    finish("a"), finish("b")
    comparison = lists.comparison

    def compare(names, seen):
        return comparison.show(dict(zip(comparison.inputs, (names, "val_accuracy", seen), strict=True)))

    chart, results, files, *_, seen = (compare(["a", "b", "gone"], None)[part] for part in comparison.outputs)
    assert chart["visible"] and len(chart["value"].data) == 2
    assert "Best validation accuracy: a, 50.0 %, as b." in results and files["visible"]
    assert compare(["a", "b", "gone"], seen) == {}
    chart, results, files, *_ = [compare(["a"], seen)[part] for part in comparison.outputs]
    assert not chart["visible"] and not files["visible"] and "two to six runs" in results


@pytest.mark.parametrize(
    ("change", "model", "compared"),
    [
        (("a", None), DEFAULT_MODEL, ["run/b"]),
        (("a", "c"), "run/c", ["run/c@3", "run/b"]),
        ((None, "new"), "run/a", ["run/a@3", "run/b"]),
        (("b", None), "run/a", ["run/a@3"]),
    ],
)
def test_models_follow_their_run(services, lists, change, model, compared):
    bench = lists.bench
    updates = follow_change(services, change, bench, {bench.model: "run/a", bench.compare: ["run/a@3", "run/b"]})
    assert (updates[bench.model]["value"], updates[bench.compare]["value"]) == (model, compared)


def test_the_card_of_a_model_follows_its_run(services, lists, finish):
    finish("c")
    bench = lists.bench
    updates = follow_change(services, ("a", "c"), bench, {bench.model: "run/a", bench.compare: []})
    assert updates[bench.card] == bench.describe(services, {bench.model: "run/c", bench.compare: []})[bench.card]
    assert "run/c" not in [name for _, name in updates[bench.compare]["choices"]]


def test_renaming_gives_both_names(services, lists, finish):
    finish("a"), finish("b")
    actions = lists.actions

    def rename(old, new):
        return actions.give_name({lists.run: old, actions._name: new})

    assert rename("a", " best ") == ("a", "best")
    assert rename("best", "best") is None
    for new in ("b", "../b", ""):
        with pytest.raises(UserError):
            rename("best", new)
    assert {run.name for run in services.jobs.list()} == {"best", "b"}


def test_deleting_gives_the_name_that_is_gone(services, lists, finish):
    finish("a"), finish("b")
    assert lists.actions.delete({lists.run: "a"}) == ("a", None)
    assert [run.name for run in services.jobs.list()] == ["b"]


def test_what_has_not_ended_is_neither_renamed_nor_deleted(lists, finish):
    run = lists.services.jobs.read(finish("a").name)
    for state in STATES:
        shown = lists.actions.show(replace(run, state=state), False)
        assert {part.elem_id: update["visible"] for part, update in shown.items()} == {
            "runs-save-note": True,
            **dict.fromkeys(("runs-rename", "runs-delete"), state not in UNFINISHED),
        }
    assert set(ENDED) == set(STATES) - set(UNFINISHED)


def test_a_capsule_goes_out_and_comes_in(services, lists, finish, tmp_path):
    finish("a")
    run = services.jobs.read("a")
    out = tmp_path / "a.zip"
    assert "without pictures" in FILES["capsule"].write(services, run, out, lambda done, total: None)
    request, silent = SimpleNamespace(session_hash="ann"), lambda *_, **__: None
    name = lists.capsule.open(str(out), request, silent)
    assert name == "a-1" and "run/a-1" in lists.capsule.describe(name)
    assert services.jobs.read("a-1").result["test_accuracy"] == 0.25


def test_a_bad_capsule_is_one_sentence_and_no_run(services, lists, tmp_path):
    request, silent = SimpleNamespace(session_hash="ann"), lambda *_, **__: None
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(EVIL, "")
    (tmp_path / "text.zip").write_text("no zip")
    for path in (str(tmp_path / "evil.zip"), str(tmp_path / "text.zip"), None):
        with pytest.raises(UserError):
            lists.capsule.open(path, request, silent)
    assert services.jobs.list() == []


def test_a_report_is_a_page_and_a_missing_package_a_sentence(services, finish, tmp_path, monkeypatch):
    finish("a")
    run = services.jobs.read("a")
    FILES["report"].write(services, run, tmp_path / "a.html", lambda done, total: None)
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    monkeypatch.setattr(onnx_export, "PACKAGES", ("no_such_package",))
    with refused("no_such_package"):
        FILES["onnx"].write(services, run, tmp_path / "a.onnx", lambda done, total: None)


def test_files_are_offered_of_runs_that_have_them(services, finish):
    path = finish("a")
    offered = {kind for kind, file in FILES.items() if file.can_be_made(services.jobs.read("a"))}
    assert offered == set(FILES)
    (path / "weights.safetensors").unlink()
    write_json(path / "status.json", {"state": "failed", "kind": "training"})
    assert [kind for kind, file in FILES.items() if file.can_be_made(services.jobs.read("a"))] == ["report"]


def test_tables_keep_text_from_outside_as_text():
    evil = RunRow(EVIL, EVIL, EVIL, EVIL, None, None, None, None, None, None, EVIL * 3)
    harmless = RunRow("a", "b", "c", "d", None, None, None, None, None, None, "e")
    pages = [Reader(runs_html([row], {}, row.name, [row.name])) for row in (evil, harmless)]
    assert pages[0].tags == pages[1].tags
    assert [key for key, _ in pages[0].attributes] == [key for key, _ in pages[1].attributes]
    assert len(pages[0].texts[-1]) == MAX_NOTE
    tables = [Reader(comparison_html(Comparison((row,), ((row.data, (row.data,)),)))) for row in (evil, harmless)]
    assert tables[0].tags == tables[1].tags


def test_the_table_has_a_row_for_each_run():
    table = Reader(runs_html([ROW], {}, "a", ["a"]))
    cells = ["a", "finished", "Drawn shapes", "Small CNN", "49,718", "99.0\u00a0%", "—", "20", "0"]
    assert table.texts == [*HEADINGS, *cells]
    assert ("aria-current", "true") in table.attributes and ("checked", None) in table.attributes
    assert ("aria-label", "Compare a") in table.attributes


def test_a_comparison_in_words():
    second = RunRow("b", "running", "shapes", "mlp", None, 0.98, 0.9, None, None, 0, "")
    nothing = RunRow("c", "queued", "shapes", "mlp", None, None, None, None, None, 0, "")
    lead = "Best validation accuracy: a, 99.5 %, 1.5 points above b."
    assert describe_comparison(Comparison((second, nothing, ROW), (), None)) == lead
    assert describe_comparison(Comparison((second, ROW), (), True)) == lead
    counted = describe_comparison(Comparison((replace(ROW, val_pictures=5000),), ()))
    assert counted == "Best validation accuracy: a, 99.5 % of 5,000 pictures."
    assert "not measured on the same" in describe_comparison(Comparison((second, ROW), (), False))
    assert "yet" in describe_comparison(Comparison((nothing, nothing), ()))
    assert describe_comparison(Comparison((ROW, nothing), ())) == "Best validation accuracy: a, 99.5 %."
    assert "All settings are the same" in comparison_html(Comparison((ROW, second), ()))
