"""The commands about trust: what others read of them."""

import pytest

KEYS = ["method", "deletion", "insertion", "infidelity", "sensitivity", "completeness_gap", "moves_with_picture"]


def test_a_picture_has_a_row_for_each_method(run_json):
    rows = run_json("trust", "sneaker", "--model", "fashion_cnn", "--methods", "saliency,input_x_gradient")
    assert [row["method"] for row in rows] == ["saliency", "input_x_gradient"]
    for row in rows:
        assert {*KEYS, "sanity", "seconds"} <= {*row}
        assert row["completeness_gap"] is None and 0 < row["deletion"] < 1


@pytest.mark.parametrize("more", [("--methods", "saliences"), ("--methods", ","), ("--order", "signed")])
def test_what_cannot_be_measured_is_one_line(run, more):
    code, out, err = run("trust", "sneaker", "--model", "fashion_cnn", *more)
    assert (code, out) == (2, "") and err.count("\n") == 1


def test_many_pictures_have_means_with_intervals(run_json):
    more = ("--model", "fashion_cnn", "--methods", "saliency", "--limit", 2, "--name", "trusted")
    found = run_json("trust-set", "--data", "digits", *more)
    (row,) = found["rows"]
    assert row["pictures"] == 2 and row["deletion"]["low"] <= row["deletion"]["value"] <= row["deletion"]["high"]
