"""Checks of single settings: what passes, and the sentence for what does not."""

from dataclasses import dataclass

import pytest

from analysis.errors import UserError
from models.settings import build_config, check_choice, check_flag, check_integer, check_number
from tests.sentences import refused


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
    ("check", "arguments"),
    [
        (check_integer, ("n", 4, 1, 3)),
        (check_integer, ("n", True, 1, 3)),
        (check_integer, ("n", 2.0, 1, 3)),
        (check_number, ("r", float("nan"), 0, 1)),
        (check_number, ("r", False, 0, 1)),
        (check_number, ("r", "x" * 99, 0, 1)),
        (check_choice, ("c", ["a"], ("a", "b"))),
        (check_flag, ("f", 1)),
        (build_config, (Point, {"z": 1})),
        (build_config, (Point, [])),
    ],
)
def test_sentences(check, arguments):
    with refused():
        check(*arguments)


def test_numbers_too_large_for_a_float():
    with pytest.raises(UserError):
        check_number("r", 10**400, 0, 1)
