"""What tabs share: cancelling, superseding, files for download."""

from types import SimpleNamespace

import pytest

import ui
from analysis.errors import Cancelled
from ui import Services
from ui.errors import Superseded

ANN, BEN = SimpleNamespace(session_hash="ann"), SimpleNamespace(session_hash="ben")


@pytest.fixture
def services() -> Services:
    return Services(lab=None, jobs=None)


def ignore(*_, **__) -> None:
    """A progress bar that nobody sees."""


def test_cancel_ends_all_actions_of_one_visitor_only(services):
    with services.watch(BEN, ignore, "other") as others:
        with pytest.raises(Cancelled), services.watch(ANN, ignore, "work") as report:
            report(1, 3)
            services.cancel(ANN)
            report(2, 3)
        others(1, 1)
    assert not services._running


@pytest.mark.parametrize(
    ("older_is_refresh", "newer_is_refresh", "survives"),
    [(False, False, False), (False, True, False), (True, True, False), (True, False, True)],
)
def test_a_newer_action_supersedes_older_ones_of_its_view(services, older_is_refresh, newer_is_refresh, survives):
    older = services.watch(ANN, ignore, "old", "explain", older_is_refresh)
    report = older.__enter__()
    with services.watch(ANN, ignore, "new", "explain", newer_is_refresh) as newest:
        newest(1, 1)
    if survives:
        report(1, 1)
        older.__exit__(None, None, None)
    else:
        with pytest.raises(Superseded):
            report(1, 1)
        with pytest.raises(Superseded):  # also an action that never reports
            older.__exit__(None, None, None)
    assert not services._running


def test_other_views_and_visitors_are_left_alone(services):
    with (
        services.watch(ANN, ignore, "a", "shift") as shift,
        services.watch(BEN, ignore, "b", "explain") as ben,
        services.watch(ANN, ignore, "c", "explain", is_refresh=True),
    ):
        shift(1, 1)
        ben(1, 1)


def test_download_files_are_bounded(services, monkeypatch):
    monkeypatch.setattr(ui, "MAX_FILES", 3)
    paths = [services.new_file("map.npy") for _ in range(5)]
    for path in paths[2:]:
        path.write_bytes(b"x")
    assert [path.parent.exists() for path in paths] == [False, False, True, True, True]
    assert len(set(paths)) == 5
