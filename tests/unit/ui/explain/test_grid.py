"""Which maps are compared, and what is left of them when the visitor cancels."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import Cancelled, UserError
from tests.sentences import refused
from ui.explain.grid import (
    AUTO,
    CANCELLED,
    MAX_MAPS,
    SECOND,
    Grid,
    compute,
    find_target,
    read_class,
    read_classes,
    read_methods,
    read_removed,
    write_removed,
)
from ui.services import Superseded

NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)


class FakeLab:
    """Remembers what it was asked; ``explain`` reports first, as the real one does of what is not kept."""

    def __init__(self, categories=("ant", "cat (big)", "cat"), best=(2, 0)):
        self.asked, self.kept, self.best = [], {}, best
        spec = SimpleNamespace(categories=categories, preprocessing=SimpleNamespace(crop_size=28))
        self.registry = SimpleNamespace(get=lambda name: spec)

    def classify(self, image, model, top, progress):
        return SimpleNamespace(predictions=[SimpleNamespace(index=index) for index in self.best[:top]])

    def explain(self, image, model, method, target, *, progress, options, **_):
        key = (model, method, target, *(options or {}).items())
        if key not in self.kept:
            progress(0, 2)
            self.kept[key] = f"map {len(self.kept)}"
            self.asked.append(key)
            if method == "guided_backprop":
                raise UserError("There is no ReLU.")
        return self.kept[key]


def quiet(words: str):
    return lambda done, total: None


def stop_at(number: int, reason: type[Cancelled] = Cancelled):
    """A reporter of which the progress of map ``number`` and all later ones raise."""
    count = 0

    def report(words: str):
        def progress(done: int, total: int) -> None:
            nonlocal count
            count += words.startswith("Opening") is False and (done, total) == (0, 1)
            if count >= number:
                raise reason

        return progress

    return report


GRID = Grid("cat.png", ("saliency", "occlusion", "grad_cam"), (AUTO, SECOND), ("net",))


def test_every_map_is_computed_once_and_problems_are_those_of_their_maps():
    lab = FakeLab()
    grid = Grid("cat.png", ("saliency", "guided_backprop"), (AUTO, "cat (2)", "dog (7)"), ("net",))
    cells = compute(lab, None, grid, (), quiet)
    assert [cell.key for cell in cells] == grid.keys
    assert [cell.problem for cell in cells] == [
        *("", "", "net has no class called dog."),
        *("There is no ReLU.", "There is no ReLU.", "net has no class called dog."),
    ]
    before = len(lab.asked)
    again = compute(lab, None, grid, grid.keys, quiet)
    assert [cell.found for cell in again[:3]] == [cell.found for cell in cells[:3]] and len(lab.asked) == before


def test_cancel_keeps_what_is_done_and_what_was_there():
    lab = FakeLab()
    there = compute(lab, None, Grid("cat.png", ("grad_cam",), (AUTO,), ("net",)), (), quiet)
    cells = compute(lab, None, GRID, [there[0].key], stop_at(3))
    found = {cell.key[:2]: cell.found for cell in cells if cell.found}
    assert set(found) == {("grad_cam", AUTO), ("saliency", AUTO)} and found["grad_cam", AUTO] == there[0].found
    assert {cell.problem for cell in cells if not cell.found} == {CANCELLED}
    assert all(cell.is_cancelled for cell in cells if not cell.found)


def test_what_is_superseded_gives_nothing():
    with pytest.raises(Superseded):
        compute(FakeLab(), None, GRID, (), stop_at(2, Superseded))


def test_a_grid_is_cut_off_and_says_so():
    grid = Grid("cat.png", ("saliency", "occlusion", "grad_cam"), (AUTO,), tuple("abcde"))
    assert len(grid.keys) == 15 and len(compute(FakeLab(), None, grid, (), quiet)) == MAX_MAPS


def test_a_method_and_a_class_of_which_nothing_is_left_are_gone():
    gone = frozenset({("saliency", AUTO, "net"), ("saliency", SECOND, "net"), ("occlusion", AUTO, "net")})
    tidied = Grid("cat.png", GRID.methods, GRID.classes, GRID.models, gone | {("grad_cam", AUTO, "other")}).tidy()
    assert tidied.methods == ("occlusion", "grad_cam") and tidied.removed == {("occlusion", AUTO, "net")}
    everything = Grid("cat.png", GRID.methods, GRID.classes, GRID.models, frozenset(GRID.keys)).tidy()
    assert everything == GRID


def test_a_class_is_found_by_its_name_in_models_that_number_it_otherwise():
    lab = FakeLab()
    find = [find_target(lab, None, asked, "net", None) for asked in (AUTO, SECOND, "cat (big) (1)", "cat (7)")]
    assert find == [None, 0, 1, 2]
    with refused():
        find_target(FakeLab(("ant",), (0,)), None, SECOND, "net", None)


@given(st.lists(st.tuples(NAMES, st.integers(0, 10**6 - 1)), min_size=1, max_size=4))
def test_any_classes_go_into_a_link_and_back(classes):
    labels = list(dict.fromkeys(f"{name} ({index})" for name, index in classes))
    if any("(" in name or name.startswith(",") for name, _ in classes):
        return  # "a (1),b" could be two
    assert read_classes(",".join([AUTO, *labels, SECOND])) == [AUTO, *labels, SECOND]
    assert [read_class(label) for label in labels] == list(dict.fromkeys(classes))


@pytest.mark.parametrize("text", ["", "tiger cat", "auto,", "auto,x", "cat (1", "cat (12345678)"])
def test_a_link_with_anything_else_is_refused(text):
    with pytest.raises(ValueError):
        read_classes(text)


def test_methods_are_read_once_each():
    assert read_methods("saliency,grad_cam,saliency") == "saliency,grad_cam"
    for text in ("", "guess", "saliency,"):
        with pytest.raises(ValueError):
            read_methods(text)


def test_what_is_left_out_is_read_as_it_was_written():
    keys = {("saliency", 'cat, "big" (1)', "run/a"), ("occlusion", AUTO, "net")}
    assert read_removed(write_removed(keys)) == keys and read_removed("") == frozenset()


@pytest.mark.parametrize("value", ["{", "7", '[["a"]]', '[["a", "b", 3]]', "[" * 10**5])
def test_what_the_page_never_sends_is_refused(value):
    with pytest.raises(UserError):
        read_removed(value)
