"""What a link sets in a bench that runs in the browser."""

import pytest

from analysis.convolution.presets import PRESETS
from ui.learn.link import LONGEST, read_controls
from ui.learn.shapes import LONGEST_STACK, read_stack


@pytest.mark.parametrize("text", ["", "stride:2", "kernel:mean16,bias:-0.5,flip:,at:0.3.1"])
def test_names_and_values_are_taken_as_they_are(text):
    assert read_controls(text) == text


@pytest.mark.parametrize("text", ["stride", "a:b,", ",", "a:<b>", 'a:"', "a:b c", "a:b:c", "a:" + "b" * LONGEST])
def test_anything_else_is_not_meant_for_it(text):
    with pytest.raises(ValueError):
        read_controls(text)


@pytest.mark.parametrize(
    "text", ["", "vgg16", *(f"{','.join(map(str, p.shape))} {p.text}" for p in PRESETS.values())]
)
def test_a_stack_is_a_preset_or_its_shape_and_its_layers(text):
    assert len(text) > LONGEST_STACK or read_stack(text) == text


@pytest.mark.parametrize(
    "text", ["3,32 conv", "0,3,3 relu", "3,32,32 <b>", "3,32,32", "a b", "3,3,3 " + "r" * LONGEST_STACK]
)
def test_what_cannot_be_a_stack_is_refused(text):
    with pytest.raises(ValueError):
        read_stack(text)
