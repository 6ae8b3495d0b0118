"""What the page says of experiments before they start."""

import pytest

from lab.experiments.table import EXPERIMENTS, configure
from models.runs.run import Run
from tests.sentences import check_sentence
from ui.evaluate.experiments import tell_times


def make_run(tmp_path, name="red_green", *, full=False, state="finished", seconds=40.0) -> Run:
    pictures = {"pictures": ["chelsea"]} if name == "traces" else {}
    config = configure(name, pictures, full=full).to_dict()
    status = {"kind": "experiment", "result": {"seconds": seconds}}
    return Run(name, tmp_path / name, state, config=config, status=status)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_newest_run_of_each_size_says_how_long_it_takes_here(tmp_path, name):
    title = EXPERIMENTS[name].title.partition(":")[0]
    runs = [make_run(tmp_path, name, seconds=40), make_run(tmp_path, name, seconds=700)]
    has_full = bool(EXPERIMENTS[name].full)
    if has_full:
        runs.append(make_run(tmp_path, name, full=True, seconds=7200))
    said = tell_times(runs)
    check_sentence(said, title, "40 s", *(["2.0 h"] if has_full else []))


@pytest.mark.parametrize("change", [{"state": "failed"}, {"state": "running"}, {"seconds": 0}, {"seconds": None}])
def test_what_has_not_ended_here_promises_nothing(tmp_path, change):
    assert " took " not in tell_times([make_run(tmp_path, **change)])
    assert " took " not in tell_times([])
