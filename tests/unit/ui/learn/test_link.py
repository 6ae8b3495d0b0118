"""What a link sets in a bench that runs in the browser."""

import pytest

from ui.learn.link import LONGEST, read_controls


@pytest.mark.parametrize("text", ["", "stride:2", "kernel:mean16,bias:-0.5,flip:,at:0.3.1"])
def test_names_and_values_are_taken_as_they_are(text):
    assert read_controls(text) == text


@pytest.mark.parametrize("text", ["stride", "a:b,", ",", "a:<b>", 'a:"', "a:b c", "a:b:c", "a:" + "b" * LONGEST])
def test_anything_else_is_not_meant_for_it(text):
    with pytest.raises(ValueError):
        read_controls(text)
