"""What tabs share: cancelling, superseding, files for download."""

from types import SimpleNamespace

import pytest

from analysis.errors import Cancelled
from ui import services as module
from ui.services import Services, Superseded

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
            assert services.cancel(ANN)
            report(2, 3)
        others(1, 1)
    assert not services._running


def test_what_a_cancelled_action_has_done_can_be_its_result_but_not_that_of_an_old_one(services):
    with services.act(ANN, ignore, "page") as action:
        services.cancel(ANN)
        with pytest.raises(Cancelled):
            action.check()
        action.settle()
    with pytest.raises(Superseded), services.act(ANN, ignore, "page") as old, services.act(ANN, ignore, "page"):
        old.settle()
    assert not services._running


def test_a_newer_action_supersedes_older_ones_of_its_view(services):
    older = services.watch(ANN, ignore, "old", "explain")
    report = older.__enter__()
    with services.watch(ANN, ignore, "new", "explain") as newest:
        newest(1, 1)
    with pytest.raises(Superseded):
        report(1, 1)
    with pytest.raises(Superseded):  # also an action that never reports
        older.__exit__(None, None, None)
    assert not services._running


def test_other_views_and_visitors_are_left_alone(services):
    with (
        services.watch(ANN, ignore, "a", "shift") as shift,
        services.watch(BEN, ignore, "b", "explain") as ben,
        services.watch(ANN, ignore, "c", "explain"),
    ):
        shift(1, 1)
        ben(1, 1)


def test_new_inputs_supersede_whatever_goes_on_about_others_in_their_view(services):
    about = {"subject": ("cat", "model")}
    with pytest.raises(Superseded), services.watch(ANN, ignore, "map", "shift_map", **about) as report:
        report(1, 3)
        services.supersede("ann", "shift_map", ("cat", "model"))  # the change that the action came after
        report(2, 3)
        services.supersede("ann", "shift_map", ("dog", "model"))
        report(3, 3)
    with pytest.raises(Superseded), services.watch(ANN, ignore, "map", "shift_map", **about):
        services.supersede("ann", "shift_map", None)  # also one that never reports
    assert not services._running


def test_superseding_a_view_leaves_other_views_and_visitors_alone(services):
    with (
        services.watch(ANN, ignore, "a", "shift_map") as other_view,
        services.watch(ANN, ignore, "b") as without_view,
        services.watch(BEN, ignore, "c", "explain") as other_visitor,
    ):
        services.supersede("ann", "explain", "other")
        for report in (other_view, without_view, other_visitor):
            report(1, 1)
    services.supersede("ann", "explain", "other")  # nothing goes on
    services.supersede("", "explain", "other")
    assert not services._running
    with services.watch(ANN, ignore, "d", "explain") as later:
        later(1, 1)


def test_the_first_reason_counts(services):
    """A visitor who cancelled is told so even if the view has moved on since."""
    for first, second, reason in (
        (services.cancel, lambda who: services.supersede("ann", "map", "other"), Cancelled),
        (lambda who: services.supersede("ann", "map", "other"), services.cancel, Superseded),
    ):
        with pytest.raises(Cancelled) as caught, services.watch(ANN, ignore, "work", "map"):
            first(ANN)
            second(ANN)
        assert caught.type is reason


def test_download_files_are_bounded(services, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 3)
    paths = [services.new_file("map.npy") for _ in range(5)]
    for path in paths[2:]:
        path.write_bytes(b"x")
    assert [path.parent.exists() for path in paths] == [False, False, True, True, True]
    assert len(set(paths)) == 5
