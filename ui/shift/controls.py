"""The controls of the Shift tab that its parts share: which shift is looked at, and by which rules."""

from dataclasses import dataclass

import gradio as gr

from lab.session import Lab
from lab.shifts import find_reach
from ui.widgets.distance import Distance

PADDINGS = {"trained": "As trained", "circular": "Circular twin"}


@dataclass(frozen=True)
class ShiftControls:
    """``padding`` is a key of ``PADDINGS``: how the network itself continues its maps beyond their borders."""

    dx: Distance
    dy: Distance
    boundary: gr.Dropdown
    padding: gr.Dropdown


def find_limit(lab: Lab, *models: str) -> int:
    """How far these models' pictures are moved at most, in pixels."""
    return find_reach(*(lab.registry.get(model).preprocessing.crop_size for model in models))
