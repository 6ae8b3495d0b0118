"""Which of the measured causes is named, and how padding is bounded."""

import math

import pytest

from analysis.causes import find_causes


@pytest.mark.parametrize(
    ("changes", "cause", "padding"),
    [
        ({}, "stride", 0.0),
        ({"stride_error": 0.0}, "padding", 0.2),
        ({"stride_error": 0.0, "new_content_error": 0.3}, "new content", 0.2),
        ({"stride_error": 0.19}, "stride", math.sqrt(0.22**2 - 0.19**2)),
        ({"error": 5e-5}, "none", 0.0),
        ({"error": None}, None, 0.0),
        ({"stride_error": None}, "padding", math.sqrt(0.22**2 - 0.1**2)),
        ({"stride_error": None, "error_valid": None}, None, 0.2),
        ({"lattice_error": None, "stride_error": 0.0}, "padding", 0.22),
        ({"stride_error": 0.0, "lattice_error": 0.0, "new_content_error": 0.0}, "none", 0.0),
    ],
)
def test_the_largest_cause_is_named(changes, cause, padding):
    numbers = {
        "error": 0.25,
        "real_error": 0.22,
        "error_valid": 0.1,
        "stride_error": 0.24,
        "lattice_error": 0.2,
        "new_content_error": 0.05,
    }
    found = find_causes(numbers | changes)
    assert found["cause"] == cause
    assert found["padding_error"] == pytest.approx(padding)
