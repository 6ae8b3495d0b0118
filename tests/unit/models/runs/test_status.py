"""Whatever stands in a status.json, what is left of it can be shown."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.runs.status import ENTRIES, as_number, clean_status

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=3), parts, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from([*ENTRIES, "state", "other"]), JSON))
def test_only_values_of_their_kind_are_left(values):
    cleaned = clean_status(values)
    assert set(cleaned) <= set(values)
    for name in ("step", "total_steps", "epoch", "epochs", "submitted"):
        assert isinstance(cleaned.get(name, 0), int) and cleaned.get(name, 0) >= 0
        f"{cleaned.get(name, 0) / 2:.0f}"
    for name in ("seconds", "seconds_left", "samples_per_second"):
        assert math.isfinite(cleaned.get(name, 0.0))
    assert isinstance(cleaned.get("result", {}), dict) and isinstance(cleaned.get("rows", []), list)
    assert all(cleaned[name] is values[name] for name in values.keys() - ENTRIES.keys())


def test_good_values_are_kept():
    good = {"state": "running", "step": 0, "seconds_left": 1.5, "device": None, "message": "", "result": {}, "x": [1]}
    assert clean_status(good) == good


@pytest.mark.parametrize("value", [None, True, "1", float("nan"), float("inf"), 10**400, [], {}])
def test_what_is_no_number(value):
    assert as_number(value) is None
    assert as_number(0.5) == 0.5 and as_number(-3) == -3
