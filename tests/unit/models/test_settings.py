"""Checks of single settings: what passes, and the sentence for what does not."""

from dataclasses import dataclass

import pytest

from analysis.errors import UserError
from models.settings import build_config, check_choice, check_flag, check_integer, check_number


@dataclass(frozen=True)
class Point:
    x: int = 0
    y: int = 0


def test_good_values_pass():
    check_integer("n", 3, 1, 3)
    check_number("r", 1, 0.0, 1.5)
    check_choice("c", "a", ("a", "b"))
    check_flag("f", False)
    assert build_config(Point, {"y": 2}) == Point(0, 2)


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (lambda: check_integer("n", 4, 1, 3), "n must be a whole number from 1 to 3, not 4."),
        (lambda: check_integer("n", True, 1, 3), "n must be a whole number from 1 to 3, not True."),
        (lambda: check_integer("n", 2.0, 1, 3), "n must be a whole number from 1 to 3, not 2.0."),
        (lambda: check_number("r", float("nan"), 0, 1), "r must be a number from 0 to 1, not nan."),
        (lambda: check_number("r", False, 0, 1), "r must be a number from 0 to 1, not False."),
        (lambda: check_number("r", "x" * 99, 0, 1), f"r must be a number from 0 to 1, not '{'x' * 56}...."),
        (lambda: check_choice("c", ["a"], ("a", "b")), "c must be one of a, b, not ['a']."),
        (lambda: check_flag("f", 1), "f must be true or false, not 1."),
        (lambda: build_config(Point, {"z": 1}), "There is no setting 'z'; there are x, y."),
        (lambda: build_config(Point, []), "The settings must be a table of names and values, not []."),
    ],
)
def test_sentences(check, sentence):
    with pytest.raises(UserError) as caught:
        check()
    assert str(caught.value) == sentence


def test_numbers_too_large_for_a_float():
    with pytest.raises(UserError):
        check_number("r", 10**400, 0, 1)
