"""Results of every kind of work, with any part missing or of another kind: shown, or said to be damaged."""

import copy
import os
from types import SimpleNamespace

import gradio as gr
import pytest

from analysis.errors import UserError
from lab.comparisons.config import Arm, ArmsConfig
from lab.documents import read_document, read_rows
from lab.jobs import JobManager
from lab.session import Lab
from models.runs.files import write_json
from models.runs.run import read_run
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from tests.device import DEVICE
from ui.evaluate import data_set, experiments, repair
from ui.services import Services
from ui.train import comparison
from ui.widgets.job_view import JobView

SHARE = {"value": 0.5, "low": 0.4, "high": 0.6}
MEAN = {"mean": 0.5, "low": 0.4, "high": 0.6}
SPREAD = {"mean": 0.5, "std": 0.1}
EVALUATION = {
    "protocol": {"name": "exact", "boundary": "zero", "description": "All shifts."},
    "data": {"name": "shapes", "num_images": 9, "skipped": []},
    "models": [
        {
            "model": "run/a",
            "num_images": 9,
            "statistics": {"accuracy": SHARE, "consistency": SHARE, "kappa": SHARE | {"value": None}},
            "notes": ["A note."],
            "curves": {"distance": [{"distance": 1, **SHARE}], "phase": [{"phase": 0, **SHARE}], "trace": []},
            "layers": [{"name": "conv", "stride": 2, "error": SHARE}, {"name": "old", "stride": 2, "error": 0.5}],
            "published": {"accuracy": 0.5, "consistency": 0.5, "source": "a paper"},
        }
    ],
    "pairs": [{"a": "run/a", "b": "run/b", "accuracy": SHARE, "consistency": SHARE, "mcnemar_p": 0.5}],
}
LAYER = {"name": "conv", "stride": 2, "phase_spread": 0.1, "error": 0.2}
REPAIR_ARM = {"title": "as it is", "run": "a-as_is", "accuracy": SHARE, "consistency": SHARE}
REPAIR = {"arms": [REPAIR_ARM | {"circular_logit_error": 1e-3, "layers": [LAYER]}] * 2}
ROWS = {
    "red_green": {
        "title": "zero",
        **dict.fromkeys(("similar", "dissimilar", "published_similar", "published_dissimilar"), SPREAD),
        "identical": False,
        "max_logit_difference": 0.1,
        "repeats": 3,
    },
    "location_bias": {"head": "gap", "left": MEAN, "right": MEAN, "drop": MEAN, "repeats": 3},
    "traces": {"picture": "cat.png", "shifts": [[0, 0], [1, 1]], "probabilities": [0.5, 0.25]},
}
ARMS = ArmsConfig(TrainingConfig(dataset="shapes"), (Arm("a", "A"), Arm("b", "B", {"batch_size": 32}))).to_dict()
COMPARISON = {
    "rows": [{"arm": "a", "title": "A"}, {"arm": "b", "title": "B"}],
    "networks": [{"arm": "a", "seed": 0, "run": "x-a-0", "state": "finished"}],
}
CASES = {
    "evaluation": SimpleNamespace(kind="evaluation", panel=data_set, config={}, status={}, found=EVALUATION),
    "repair": SimpleNamespace(kind="repair", panel=repair, config={}, status={}, found=REPAIR),
    "arms": SimpleNamespace(kind="arms", panel=comparison, config=ARMS, status={}, found=COMPARISON),
} | {
    name: SimpleNamespace(
        kind="experiment",
        panel=experiments,
        config={"experiment": name},
        status={"rows": [row], "sentence": "So it is."},
        found={"note": "A note."},
    )
    for name, row in ROWS.items()
}
ODD = (None, "x", 1e300, True, {}, [None])


def list_places(value: object, place: tuple = ()) -> list[tuple]:
    """The place of every part of a document."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, part in parts for found in ((*place, name), *list_places(part, (*place, name)))]


def change(document: dict, place: tuple, *value: object) -> dict:
    """The document with another value at a place, or without that part."""
    changed = copy.deepcopy(document)
    holder = changed
    for name in place[:-1]:
        holder = holder[name]
    if value:
        holder[place[-1]] = value[0]
    else:
        del holder[place[-1]]
    return changed


@pytest.fixture(params=CASES)
def shown(request, tmp_path):
    """A kind of work, a run of it, and what its panel shows of that."""
    case, root = CASES[request.param], tmp_path / "runs"
    root.mkdir()
    services = Services(Lab(DEVICE, tmp_path, root), JobManager(root))
    with gr.Blocks():
        view = JobView(services, case.kind, "Nothing yet.", lambda: case.panel._build_result(services))
    path = create_run(root, "a", case.config, case.kind)
    known = read_run(root, "a").status | {"state": "finished"} | case.status

    def show(content: bytes | None = None, **status) -> str:
        write_json(path / "status.json", known | status)
        if content is not None:
            (path / "result.json").write_bytes(content)
        return view.open({view.run: "a"})[view.outputs[1]]

    def find_damage(found: object, **status) -> str:
        """What is said to be damaged; of what is not, all is shown."""
        write_json(path / "status.json", known | status)
        write_json(path / "result.json", found)
        run = read_run(root, "a")
        try:
            read_document(run)
            read_rows(run)
        except UserError as error:
            return str(error)
        assert "damaged" not in show(**status)
        return ""

    return SimpleNamespace(case=case, path=path, show=show, find_damage=find_damage)


def test_whole_results_are_shown(shown):
    assert shown.find_damage(shown.case.found) == ""


def test_results_without_a_part_or_with_another_are_a_sentence_or_shown(shown):
    """Never an error every second; and what lacks what is shown is said, with the place."""
    document, damaged = shown.case.found, 0
    for place in list_places(document):
        for values in ((), *((odd,) for odd in ODD)):
            text = shown.find_damage(change(document, place, *values))
            damaged += text.startswith("a/result.json is damaged: ")
    assert damaged > 10 or shown.case.kind == "experiment"


def test_rows_without_a_part_or_with_another_are_a_sentence_or_shown(shown):
    if not shown.case.status:
        return
    rows, damaged = shown.case.status["rows"], 0
    for place in list_places(rows):
        for values in ((), *((odd,) for odd in ODD)):
            text = shown.find_damage(shown.case.found, rows=change(rows, place, *values))
            damaged += text.startswith("a/status.json is damaged: ")
    assert damaged > 10


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 10**5, b'{"models": [NaN]}'])
def test_results_that_are_none_are_a_sentence(shown, content):
    has_parts = shown.case.kind != "experiment" or not content.startswith(b'{"models')
    assert ("a/result.json is damaged" in shown.show(content)) == has_parts


def test_a_result_that_is_a_pipe_keeps_nobody_waiting(shown):
    os.mkfifo(shown.path / "result.json")
    assert "a/result.json cannot be read (it is no ordinary file)" in shown.show()
