"""How many of what, and the article before a number or a name."""

import pytest

from analysis.grammar import article, count


@pytest.mark.parametrize(
    ("number", "what", "text"),
    [
        (1, "class", "1 class"),
        (0, "class", "0 classes"),
        (2, "class folder", "2 class folders"),
        (1234, "picture", "1,234 pictures"),
        (2, "copy", "2 copies"),
        (2, "day", "2 days"),
        (3, "box", "3 boxes"),
        (2, "batch", "2 batches"),
        (3, "epoch", "3 epochs"),
    ],
)
def test_one_is_singular_and_all_else_plural(number, what, text):
    assert count(number, what) == text


@pytest.mark.parametrize(("do", "one"), [("look", "looks"), ("are", "is"), ("have", "has"), ("were", "was")])
def test_verbs_agree(do, one):
    assert count(1, "map", do) == f"1 map {one}"
    assert [count(number, "map", do) for number in (0, 2)] == [f"0 maps {do}", f"2 maps {do}"]


@pytest.mark.parametrize("what", [8, 80, 81, 800, 8000, 11, 18, 11000, 18123, "11 x 11", "8.5", "int", "OrderedDict"])
def test_an_before_a_vowel(what):
    assert article(what) == f"an {what}"


@pytest.mark.parametrize("what", [0, 1, 7, 9, 10, 12, 110, 118, 1100, 1800, 28, 100, 180, "1 x 1", "list", "Unit"])
def test_a_before_all_else(what):
    assert article(what) == f"a {what}"
