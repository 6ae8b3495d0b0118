"""CSV that Excel reads, and in which nothing is a formula."""

import csv
import io

import pytest

from lab.spreadsheet import to_csv


def read(text: str) -> list[list[str]]:
    """The rows, as a program reads them that knows of the mark."""
    return list(csv.reader(io.StringIO(text.encode().decode("utf-8-sig"), newline="")))


def test_every_letter_and_every_cell_comes_back():
    rows = [["사진", 'a "b", c\nd', 0.5, -1.5, None, True], ["é", "", 3, 1e-9, "x", False]]
    text = to_csv("abcdef", rows)
    assert text.encode().startswith(b"\xef\xbb\xbf")
    assert read(text) == [list("abcdef"), *[["" if cell is None else str(cell) for cell in row] for row in rows]]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1"])
def test_no_text_is_a_formula_and_negative_numbers_are_numbers(cell):
    assert read(to_csv(["name", "value"], [[cell, -0.5]]))[1] == [f"'{cell}", "-0.5"]


def test_rows_may_be_mappings():
    assert read(to_csv(["a", "b"], [{"b": 1, "c": 2}, {"a": "x"}]))[1:] == [["", "1"], ["x", ""]]


def test_half_characters_can_be_written():
    assert read(to_csv(["a"], [["x\ud800"]]))[1] == ["x?"]
